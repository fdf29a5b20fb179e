package deltaferry.warehouse;

import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.HexFormat;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Unity Catalog volumes as a folder. Files come and go over URLs that carry their own permission (the client
 * sends no token to a presigned URL): a signature over method, path and expiry.
 */
final class Volumes {
  static final String PREFIX = "/Volumes/";
  private static final long VALID_MILLIS = 15 * 60_000;
  private final Path folder;
  private final SecretKeySpec key;

  Volumes(Path folder) {
    this.folder = folder;
    byte[] secret = new byte[32];
    new SecureRandom().nextBytes(secret);
    this.key = new SecretKeySpec(secret, "HmacSHA256");
  }

  /** The file behind a {@code /Volumes/...} path. */
  Path resolve(String path) {
    Path file = path.startsWith(PREFIX) ? folder.resolve(path.substring(PREFIX.length())).normalize() : null;
    if (file == null || !file.startsWith(folder)) {
      throw new IllegalArgumentException("[INVALID_VOLUME_PATH] '" + path + "' is no path below /Volumes/");
    }
    return file;
  }

  /** A URL at which {@code method} on that path is allowed for a quarter of an hour. */
  String presign(String baseUrl, String method, String path) {
    resolve(path);
    long expires = System.currentTimeMillis() + VALID_MILLIS;
    String query = "expires=" + expires + "&signature=" + sign(method, path, expires);
    try {
      URI base = URI.create(baseUrl);
      return new URI("https", null, base.getHost(), base.getPort(), path, query, null).toASCIIString();
    } catch (java.net.URISyntaxException e) {
      throw new IllegalArgumentException("'" + path + "' makes no URL: " + e.getMessage(), e);
    }
  }

  /** Serves one transfer. */
  void serve(HttpExchange exchange) throws IOException {
    String method = exchange.getRequestMethod(), path = exchange.getRequestURI().getPath();
    if (!allowed(method, path, exchange.getRequestURI().getQuery())) {
      exchange.sendResponseHeaders(403, -1);
      return;
    }
    Path file = resolve(path);
    switch (method) {
      case "PUT" -> {
        Files.createDirectories(file.getParent());
        // Whoever reads the folder meanwhile must not see half a file; Spark skips names with a dot.
        Path part = Files.createTempFile(file.getParent(), ".", ".part");
        Files.copy(exchange.getRequestBody(), part, StandardCopyOption.REPLACE_EXISTING);
        Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        exchange.sendResponseHeaders(200, -1);
      }
      case "GET" -> {
        if (!Files.isRegularFile(file)) {
          exchange.sendResponseHeaders(404, -1);
          return;
        }
        long size = Files.size(file);
        exchange.sendResponseHeaders(200, size == 0 ? -1 : size);
        Files.copy(file, exchange.getResponseBody());
      }
      case "DELETE" -> exchange.sendResponseHeaders(Files.deleteIfExists(file) ? 200 : 404, -1);
      default -> exchange.sendResponseHeaders(405, -1);
    }
  }

  private boolean allowed(String method, String path, String query) {
    if (query == null || !query.matches("expires=\\d{1,18}&signature=[0-9a-f]{64}")) return false;
    long expires = Long.parseLong(query.substring("expires=".length(), query.indexOf('&')));
    byte[] given = query.substring(query.lastIndexOf('=') + 1).getBytes(StandardCharsets.UTF_8);
    byte[] due = sign(method, path, expires).getBytes(StandardCharsets.UTF_8);
    return MessageDigest.isEqual(given, due) && System.currentTimeMillis() <= expires;
  }

  private String sign(String method, String path, long expires) {
    try {
      Mac mac = Mac.getInstance("HmacSHA256");
      mac.init(key);
      byte[] text = (method + "\n" + path + "\n" + expires).getBytes(StandardCharsets.UTF_8);
      return HexFormat.of().formatHex(mac.doFinal(text));
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException("this Java has no HmacSHA256", e);
    }
  }
}
