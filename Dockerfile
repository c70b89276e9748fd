# lrok in an image with nothing else in it. Build: docker build -t lrok .
# A user of your choice runs it (--user); its data is in /var/lib/lrok.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/lrok ./cmd/lrok \
 && mkdir -p /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/lrok /usr/local/bin/lrok
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /var/lib/lrok
ENV LROK_DATA_DIR=/var/lib/lrok
USER 65532:65532
VOLUME /var/lib/lrok
ENTRYPOINT ["/usr/local/bin/lrok"]
CMD ["serve"]
