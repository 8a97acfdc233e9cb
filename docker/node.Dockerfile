# The nodes' image: one static file.
#   docker build -f docker/node.Dockerfile -t netsplit-node .
# netsplit needs no image built by hand: it packs the binary that lies beside it. This file is for those who want to ship one.
# How to do without a registry: see netsplit.Dockerfile.
ARG RUST=rust:1.95-slim-bookworm
FROM ${RUST} AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p netsplit-node && cp target/*/release/netsplit-node / && rm -rf target

FROM scratch
COPY --from=build /netsplit-node /
ENTRYPOINT ["/netsplit-node"]
