# The nodes' image: one static file.
#   docker build -f docker/node.Dockerfile -t netsplit-node .
# netsplit needs no image built by hand: it packs the binary that lies beside it. This file is for those who want to ship one.
ARG RUST=rust:1.95-slim-bookworm
FROM ${RUST} AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p netsplit-node \
 && cp "target/$(rustc -vV | sed -n 's/^host: //p')/release/netsplit-node" /netsplit-node

FROM scratch
COPY --from=build /netsplit-node /netsplit-node
ENTRYPOINT ["/netsplit-node"]
