package deltaferry.warehouse;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.util.concurrent.Executor;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/** HTTPS: Thrift calls on {@code POST /sql/...} for those who bring the token, files on {@code /Volumes/...}. */
final class HttpsFrontEnd {
  private final HttpsServer server;
  private final byte[] credential;
  private ThriftService service;
  private Volumes volumes;

  HttpsFrontEnd(InetSocketAddress address, SSLContext tls, String token, Executor executor) throws IOException {
    credential = ("Bearer " + token).getBytes(StandardCharsets.UTF_8);
    server = HttpsServer.create(address, 128);
    server.setHttpsConfigurator(new HttpsConfigurator(tls));
    server.setExecutor(executor);
    server.createContext("/", this::handle);
  }

  /** The port is taken when this object is made: others need to know it before anything is served. */
  int port() {
    return server.getAddress().getPort();
  }

  void serve(ThriftService service, Volumes volumes) {
    this.service = service;
    this.volumes = volumes;
    server.start();
  }

  void stop() {
    server.stop(0);
  }

  static SSLContext tls(Path keystore, char[] password) throws IOException, GeneralSecurityException {
    KeyStore store = KeyStore.getInstance("PKCS12");
    try (InputStream in = Files.newInputStream(keystore)) {
      store.load(in, password);
    }
    KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    keys.init(store, password);
    SSLContext tls = SSLContext.getInstance("TLS");
    tls.init(keys.getKeyManagers(), null, null);
    return tls;
  }

  private void handle(HttpExchange exchange) throws IOException {
    try (exchange) {
      String path = exchange.getRequestURI().getPath();
      if (path.startsWith(Volumes.PREFIX)) volumes.serve(exchange);
      else if (!path.startsWith("/sql/")) exchange.sendResponseHeaders(404, -1);
      else if (!exchange.getRequestMethod().equals("POST")) exchange.sendResponseHeaders(405, -1);
      else if (!authorized(exchange)) exchange.sendResponseHeaders(403, -1);
      else answer(exchange);
    }
  }

  private boolean authorized(HttpExchange exchange) {
    String given = exchange.getRequestHeaders().getFirst("Authorization");
    return given != null && MessageDigest.isEqual(given.getBytes(StandardCharsets.UTF_8), credential);
  }

  private void answer(HttpExchange exchange) throws IOException {
    ThriftCodec.Call call = ThriftCodec.readCall(exchange.getRequestBody().readAllBytes());
    byte[] reply = ThriftCodec.writeReply(call, respond(call));
    exchange.getResponseHeaders().set("Content-Type", "application/x-thrift");
    exchange.sendResponseHeaders(200, reply.length);
    exchange.getResponseBody().write(reply);
  }

  /** A fault of ours is told in the answer: on an HTTP 500 the client would try again for minutes. */
  private ThriftStruct respond(ThriftCodec.Call call) {
    try {
      return service.call(call.method(), call.request());
    } catch (Throwable t) {
      t.printStackTrace();
      return new ThriftStruct().with(1, Status.error(t.toString(), Status.INTERNAL));
    }
  }
}
