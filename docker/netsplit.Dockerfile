# netsplit itself, to spin up a testnet with nothing installed but Docker:
#   docker build -f docker/netsplit.Dockerfile -t netsplit .
#   docker run --rm -v /var/run/docker.sock:/var/run/docker.sock netsplit test /topologies/quickstart.yaml
# The image holds netsplit, the small node binary it packs into the nodes' image, and the topologies.
#
# Any image with Rust and a C compiler on Debian or Ubuntu will do as the base. Without a registry, and with Rust on this machine:
#   sudo debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm /tmp/base
#   sudo cp -a "$(rustc --print sysroot)/." /tmp/base/usr/local/ && sudo tar -C /tmp/base -c . | docker import - rust-base
#   docker build --build-arg RUST=rust-base -f docker/netsplit.Dockerfile -t netsplit .
ARG RUST=rust:1.95-slim-bookworm
FROM ${RUST} AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p netsplit -p netsplit-node \
 && mkdir -p /out/state \
 && cp target/*/release/netsplit target/*/release/netsplit-node /out/ \
 && cp -r topologies /out/ && rm -rf target

FROM scratch
COPY --from=build /out/ /
ENV XDG_STATE_HOME=/state
ENTRYPOINT ["/netsplit"]
CMD ["--help"]
