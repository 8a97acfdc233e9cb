# netsplit itself, to spin up a testnet with nothing installed but Docker:
#   docker build -f docker/netsplit.Dockerfile -t netsplit .
#   docker run --rm -v /var/run/docker.sock:/var/run/docker.sock netsplit test /topologies/quickstart.yaml
# The image holds netsplit, the small node binary it packs into the nodes' image, and the topologies.
ARG RUST=rust:1.95-slim-bookworm
FROM ${RUST} AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p netsplit -p netsplit-node \
 && mkdir -p /out/state \
 && cp "target/$(rustc -vV | sed -n 's/^host: //p')/release/netsplit" \
       "target/$(rustc -vV | sed -n 's/^host: //p')/release/netsplit-node" /out/ \
 && cp -r topologies /out/topologies

FROM scratch
COPY --from=build /out/ /
ENV XDG_STATE_HOME=/state
ENTRYPOINT ["/netsplit"]
CMD ["--help"]
