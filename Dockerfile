# The server's image: the binary and a list of certificate authorities on a small Debian.
#
#     docker build --tag proconf-app-server .
#     docker run --publish 8080:8080 --env-file settings.env --volume proconf:/var/lib/proconf-app-server proconf-app-server
#
# For a reproducible build, set the base images by digest: --build-arg RUST_IMAGE=rust@sha256:…
ARG RUST_IMAGE=rust:1.95-slim-trixie
ARG BASE_IMAGE=debian:trixie-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY docs/openapi.json docs/openapi.json
COPY src src
COPY migrations migrations
COPY static static
# Compiled dependencies are cached between builds. cargo compares file times, and a copied file may be older than a cached
# artefact: `touch` makes cargo rebuild this project.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    touch src/lib.rs src/main.rs && \
    cargo build --profile dist --locked --bin proconf-app-server && \
    install -D -m 0755 target/dist/proconf-app-server /out/proconf-app-server

FROM ${BASE_IMAGE}
# Trusted authorities, for Admin Control and a bucket. For others, mount a file and name it in SSL_CERT_FILE.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/proconf-app-server /usr/local/bin/proconf-app-server
# Fails the build if the base image lacks a library.
RUN /usr/local/bin/proconf-app-server --version && \
    install -d -o 10001 -g 10001 -m 0750 /var/lib/proconf-app-server
# The workflow of a release sets these, and the address of the source.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="proconf-app-server" \
      org.opencontainers.image.description="The application server between ProCONF clients and Admin Control" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, so that Kubernetes can verify that it is not root.
USER 10001:10001
# The default paths, var/app.db and var/summaries, are relative to this folder: mount a volume here.
WORKDIR /var/lib/proconf-app-server
# As few settings as possible, because the environment overrides a file given with --config. Publish the first port only:
# the second one has the metrics, and requires no token.
ENV APP_SERVER__LISTEN=0.0.0.0:8080 \
    APP_MANAGEMENT__LISTEN=0.0.0.0:9090 \
    APP_LOG__FORMAT=json
EXPOSE 8080 9090
# Drains and completes requests in flight. Allow APP_SERVER__DRAIN_FOR and APP_SERVER__SHUTDOWN_TIMEOUT:
# docker stop --timeout 45.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/proconf-app-server", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/proconf-app-server"]
CMD ["serve"]
