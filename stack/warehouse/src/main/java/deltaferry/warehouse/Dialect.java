package deltaferry.warehouse;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.MapType;
import org.apache.spark.sql.types.StructType;

/**
 * What a Databricks SQL warehouse understands and Spark with Delta does not. Every other statement goes to
 * Spark as it came. The whole list:
 *
 * <ul>
 *   <li>{@code PUT 'local' INTO '/Volumes/...' [OVERWRITE]}, {@code GET '/Volumes/...' TO 'local'}, {@code
 *       REMOVE '/Volumes/...'}: answered with a presigned URL; the client moves the file itself.
 *   <li>{@code LIST '/Volumes/...'}: the files of a volume's folder.
 *   <li>{@code COPY INTO table FROM '/Volumes/...' | (SELECT ... FROM '/Volumes/...') FILEFORMAT = ...
 *       [FORMAT_OPTIONS (...)]}: an INSERT BY NAME. Unlike the real one it does not remember which files it
 *       loaded, and casts only as INSERT does.
 *   <li>{@code /Volumes/} where a statement names files (after a backtick, {@code DIRECTORY '}, {@code LOCATION
 *       '} or {@code path '}): replaced by the folder that holds the volumes.
 * </ul>
 */
final class Dialect {
  private static final Pattern STAGING =
      Pattern.compile(
          "(?is)\\s*(PUT|GET|REMOVE)\\s+'([^']+)'"
              + "(?:\\s+(?:INTO|TO)\\s+'([^']+)')?(\\s+OVERWRITE)?\\s*;?\\s*");
  private static final Pattern LIST = Pattern.compile("(?is)\\s*LIST\\s+'(/Volumes/[^']+)'\\s*;?\\s*");
  private static final Pattern COPY =
      Pattern.compile(
          "(?is)\\s*COPY\\s+INTO\\s+(?<table>\\S+)"
              + "\\s+FROM\\s+(?:'(?<all>/Volumes/[^']+)'"
              + "|\\(\\s*SELECT\\s+(?<list>.+?)\\s+FROM\\s+'(?<some>/Volumes/[^']+)'\\s*\\))"
              + "\\s+FILEFORMAT\\s*=\\s*(?<format>\\w+)"
              + "(?:\\s+FORMAT_OPTIONS\\s*\\((?<options>.*?)\\))?(?:\\s+COPY_OPTIONS\\s*\\(.*\\))?\\s*;?\\s*");
  private static final Pattern FILES =
      Pattern.compile("(?i)(`|\\b(?:DIRECTORY|LOCATION)\\s+'|\\bpath['\"]?\\s*=?\\s*')/Volumes/");

  private final Volumes volumes;
  private final String baseUrl;

  Dialect(Volumes volumes, String baseUrl) {
    this.volumes = volumes;
    this.baseUrl = baseUrl;
  }

  /** Runs a statement as the warehouse would. */
  Dataset<Row> run(SparkSession spark, Operation operation, String text, List<ThriftStruct> parameters)
      throws IOException {
    Matcher staging = STAGING.matcher(text);
    if (staging.matches()) {
      operation.markStaging();
      boolean put = staging.group(1).equalsIgnoreCase("PUT");
      String local = put ? staging.group(2) : staging.group(3);
      String remote = put ? staging.group(3) : staging.group(2);
      return stage(spark, staging.group(1).toUpperCase(Locale.ROOT), local, remote, staging.group(4) != null);
    }
    Matcher list = LIST.matcher(text);
    if (list.matches()) return list(spark, list.group(1));
    return Parameters.sql(spark, withFolders(withoutCopyInto(text)), parameters);
  }

  /** One row that tells the client what to move, and where. */
  private Dataset<Row> stage(SparkSession spark, String verb, String local, String remote, boolean overwrite) {
    if (remote == null || (local == null) != verb.equals("REMOVE")) {
      throw new IllegalArgumentException(verb + " needs a local file and a path below /Volumes/");
    }
    if (verb.equals("PUT") && !overwrite && Files.exists(volumes.resolve(remote))) {
      throw new IllegalArgumentException("[FILE_ALREADY_EXISTS] " + remote + " exists; PUT ... OVERWRITE replaces it");
    }
    String url = volumes.presign(baseUrl, verb.equals("REMOVE") ? "DELETE" : verb, remote);
    StructType schema =
        new StructType()
            .add("operation", "string")
            .add("presignedUrl", "string")
            .add("headers", MapType.apply(DataTypes.StringType, DataTypes.StringType));
    if (local == null) return spark.createDataFrame(List.of(RowFactory.create(verb, url, Map.of())), schema);
    List<Row> rows = List.of(RowFactory.create(verb, url, Map.of(), local));
    return spark.createDataFrame(rows, schema.add("localFile", "string"));
  }

  private Dataset<Row> list(SparkSession spark, String remote) throws IOException {
    Path folder = volumes.resolve(remote);
    if (!Files.exists(folder)) throw new IllegalArgumentException("[PATH_NOT_FOUND] " + remote + " does not exist");
    List<Row> rows = new ArrayList<>();
    try (Stream<Path> entries = Files.isDirectory(folder) ? Files.list(folder) : Stream.of(folder)) {
      for (Path file : (Iterable<Path>) entries.sorted()::iterator) {
        String name = file.getFileName().toString();
        if (name.startsWith(".")) continue; // Hadoop's checksums, uploads under way
        boolean directory = Files.isDirectory(file);
        String path = file.equals(folder) ? remote : remote.replaceAll("/+$", "") + "/" + name;
        long modified = Files.getLastModifiedTime(file).toMillis();
        rows.add(
            RowFactory.create(directory ? path + "/" : path, name, directory ? 0L : Files.size(file), modified));
      }
    }
    StructType schema =
        new StructType()
            .add("path", "string")
            .add("name", "string")
            .add("size", "bigint")
            .add("modification_time", "bigint");
    return spark.createDataFrame(rows, schema);
  }

  private static String withoutCopyInto(String text) {
    Matcher copy = COPY.matcher(text);
    if (!copy.matches()) return text;
    String from = copy.group("all") != null ? copy.group("all") : copy.group("some");
    String columns = copy.group("list") == null ? "*" : copy.group("list");
    String options = copy.group("options") == null ? "" : " WITH (" + copy.group("options") + ")";
    String format = copy.group("format").toLowerCase(Locale.ROOT);
    return "INSERT INTO " + copy.group("table") + " BY NAME SELECT " + columns
        + " FROM " + format + ".`" + from + "`" + options;
  }

  private String withFolders(String text) {
    String folder = Matcher.quoteReplacement(volumes.resolve(Volumes.PREFIX) + "/");
    return FILES.matcher(text).replaceAll("$1" + folder);
  }
}
