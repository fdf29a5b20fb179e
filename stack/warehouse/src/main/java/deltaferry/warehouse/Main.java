package deltaferry.warehouse;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import javax.net.ssl.SSLContext;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.util.ShutdownHookManager;
import scala.runtime.AbstractFunction0;
import scala.runtime.BoxedUnit;

/**
 * A local stand-in for a Databricks SQL warehouse: Spark and Delta behind the Databricks dialect of HiveServer2
 * Thrift over HTTPS. Prints one line, {@code READY https://localhost:PORT}, once it serves; all else goes to
 * stderr. SIGTERM ends it.
 */
public final class Main {
  private static final Duration IDLE_SESSION = Duration.ofHours(1);

  private Main() {}

  public static void main(String[] args) throws Exception {
    Path home = Path.of(setting("dw.home", null)).toAbsolutePath().normalize();
    Path warehouse = Files.createDirectories(home.resolve("warehouse"));
    Path temporary = Files.createDirectories(home.resolve("tmp"));
    Path results = emptied(home.resolve("results"));
    Volumes volumes = new Volumes(Files.createDirectories(home.resolve("volumes")));
    char[] password = secret("DW_KEYSTORE_PASSWORD", "dw.keystorePassword").toCharArray();
    SSLContext tls = HttpsFrontEnd.tls(Path.of(setting("dw.keystore", null)), password);

    ExecutorService pool = Executors.newCachedThreadPool(Main::daemon);
    var address = new InetSocketAddress(setting("dw.bind", "127.0.0.1"), Integer.getInteger("dw.port", 0));
    HttpsFrontEnd frontEnd = new HttpsFrontEnd(address, tls, secret("DW_TOKEN", "dw.token"), pool);
    String url = "https://" + setting("dw.host", "localhost") + ":" + frontEnd.port();

    System.setProperty("spark.sql.warehouse.dir", warehouse.toString());
    System.setProperty("spark.local.dir", temporary.toString());
    SparkSession root = SparkSession.builder().appName("warehouse").getOrCreate(); // reads spark.* properties
    CatalogRestore.run(root, warehouse);

    var timer = new ScheduledThreadPoolExecutor(1, Main::daemon);
    timer.setRemoveOnCancelPolicy(true);
    Sessions sessions = new Sessions();
    timer.scheduleWithFixedDelay(() -> sessions.closeIdle(IDLE_SESSION), 1, 1, TimeUnit.MINUTES);
    StatementRunner runner = new StatementRunner(pool, timer);
    ThriftService service = new ThriftService(root, sessions, runner, new Dialect(volumes, url), results);

    stopBeforeSpark(frontEnd, sessions);
    frontEnd.serve(service, volumes);
    System.out.println("READY " + url);
  }

  /**
   * At the end clients must lose their connection, which they take for an outage, before Spark's own hook makes
   * their statements fail, which they would take for an answer.
   */
  private static void stopBeforeSpark(HttpsFrontEnd frontEnd, Sessions sessions) {
    int first = ShutdownHookManager.SPARK_CONTEXT_SHUTDOWN_PRIORITY() + 1;
    ShutdownHookManager.addShutdownHook(
        first,
        new AbstractFunction0<>() {
          @Override
          public BoxedUnit apply() {
            frontEnd.stop();
            sessions.closeAll();
            return BoxedUnit.UNIT;
          }
        });
  }

  /** Results do not outlive the process that wrote them. */
  private static Path emptied(Path directory) throws IOException {
    Files.createDirectories(directory);
    try (Stream<Path> files = Files.list(directory)) {
      for (Path file : (Iterable<Path>) files::iterator) Files.deleteIfExists(file);
    }
    return directory;
  }

  private static Thread daemon(Runnable task) {
    Thread thread = new Thread(task);
    thread.setDaemon(true);
    return thread;
  }

  private static String setting(String property, String fallback) {
    String value = System.getProperty(property, fallback);
    if (value == null) throw new IllegalArgumentException("-D" + property + "=... is missing");
    return value;
  }

  /** From the environment, else from a property: properties are seen in the list of processes. */
  private static String secret(String variable, String property) {
    String value = System.getenv(variable);
    if (value == null) value = System.getProperty(property);
    if (value == null || value.isEmpty()) {
      throw new IllegalArgumentException(variable + " must be set in the environment");
    }
    return value;
  }
}
