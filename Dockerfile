# The server's image: its binary and a list of certificate authorities on a small Debian.
#
#     docker build --tag proconf-app-server .
#     docker run --publish 8080:8080 --env-file settings.env --volume proconf:/var/lib/proconf-app-server proconf-app-server
#
# Tags move. To build from the very same bases again, give them by digest: --build-arg RUST_IMAGE=rust@sha256:…
ARG RUST_IMAGE=rust:1.95-slim-trixie
ARG BASE_IMAGE=debian:trixie-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY docs/openapi.json docs/openapi.json
COPY src src
COPY migrations migrations
COPY static static
# What the dependencies became is kept from one build to the next. cargo goes by the time of a file, and a file that was
# copied may be older than what was built of another one: the touch makes sure that this project is always built anew.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    touch src/lib.rs src/main.rs && \
    cargo build --release --locked --bin proconf-app-server && \
    install -D -m 0755 target/release/proconf-app-server /out/proconf-app-server && \
    strip --strip-debug /out/proconf-app-server

FROM ${BASE_IMAGE}
# Whose certificates are accepted, of Admin Control and of a bucket. For others, mount a file and name it in SSL_CERT_FILE.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/proconf-app-server /usr/local/bin/proconf-app-server
# It says its version here, or a library that it needs is not in this base.
RUN /usr/local/bin/proconf-app-server --version && \
    install -d -o 10001 -g 10001 -m 0750 /var/lib/proconf-app-server
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
# The paths of the default settings, var/app.db and var/summaries, are below this folder: mount a volume here.
WORKDIR /var/lib/proconf-app-server
# No more than what a container needs, for the environment wins over a file given with --config. Publish the first port only:
# the second one has the metrics, and asks nobody for a token.
ENV APP_SERVER__LISTEN=0.0.0.0:8080 \
    APP_MANAGEMENT__LISTEN=0.0.0.0:9090 \
    APP_LOG__FORMAT=json
EXPOSE 8080 9090
# Drains and answers what got in; give it APP_SERVER__DRAIN_FOR and APP_SERVER__SHUTDOWN_TIMEOUT: docker stop --timeout 45.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/proconf-app-server", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/proconf-app-server"]
CMD ["serve"]
