package deltaferry.warehouse;

import java.util.Arrays;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.execution.CommandResultExec;
import org.apache.spark.sql.execution.LocalTableScanExec;
import org.apache.spark.sql.execution.SQLExecution;
import org.apache.spark.sql.execution.SparkPlan;
import org.apache.spark.sql.types.StructField;
import scala.Option;
import scala.runtime.AbstractFunction0;

/** Runs statements, each on a thread of its own, and writes what they answer to their operation's result. */
final class StatementRunner {
  /** What to run. It may already do all the work, as Spark does for commands. */
  interface Query {
    Dataset<Row> run(SparkSession spark) throws Exception;
  }

  private final ExecutorService pool;
  private final ScheduledExecutorService timer;

  StatementRunner(ExecutorService pool, ScheduledExecutorService timer) {
    this.pool = pool;
    this.timer = timer;
  }

  /** Starts the statement; {@code timeoutSeconds} of 0 is no limit. */
  void start(Operation operation, Query query, long timeoutSeconds) {
    Future<?> timeout =
        timeoutSeconds <= 0
            ? null
            : timer.schedule(() -> operation.stop(Operation.State.TIMED_OUT), timeoutSeconds, TimeUnit.SECONDS);
    pool.execute(
        () -> {
          run(operation, query);
          if (timeout != null) timeout.cancel(false);
        });
  }

  private void run(Operation operation, Query query) {
    if (!operation.begin()) return;
    SparkSession spark = operation.session.spark;
    Throwable thrown = null;
    try {
      SparkSession.setActiveSession(spark);
      spark.sparkContext().setJobGroup(operation.handle.toString(), "statement", true);
      collect(operation, spark, query.run(spark));
    } catch (Throwable t) {
      thrown = t;
    } finally {
      spark.sparkContext().clearJobGroup();
      SparkSession.clearActiveSession();
      operation.session.touch();
      operation.end(thrown);
    }
  }

  private void collect(Operation operation, SparkSession spark, Dataset<Row> answer) throws Exception {
    var rows = (org.apache.spark.sql.classic.Dataset<Row>) withTextColumns(answer);
    String timeZone = spark.conf().get("spark.sql.session.timeZone");
    operation.describe(ResultSchema.of(rows.schema(), timeZone));
    if (!operation.hasResult()) return;
    var batches = new ArrowBatches(operation.handle.toString(), rows.schema(), timeZone);
    SparkPlan plan = rows.queryExecution().executedPlan();
    if (plan instanceof LocalTableScanExec || plan instanceof CommandResultExec) {
      batches.write(Arrays.<InternalRow>asList(plan.executeCollect()).iterator(), 0); // at hand: no job
    } else {
      // Dataset's own withNewExecutionId cannot be reached from here; this gives the same scope
      // (adaptive execution, and the clean-up of shuffles).
      SQLExecution.withNewExecutionId(rows.queryExecution(), Option.empty(), computation(plan, batches));
    }
    operation.store.seal();
  }

  private static AbstractFunction0<Object> computation(SparkPlan plan, ArrowBatches batches) {
    return new AbstractFunction0<>() {
      @Override
      public Object apply() {
        plan.execute().toJavaRDD().foreachPartition(batches);
        return null;
      }
    };
  }

  private static Dataset<Row> withTextColumns(Dataset<Row> rows) {
    StructField[] fields = rows.schema().fields();
    if (Arrays.stream(fields).noneMatch(f -> ResultSchema.travelsAsText(f.dataType()))) return rows;
    String[] unique = new String[fields.length]; // a result may have two columns of one name
    Arrays.setAll(unique, i -> "c" + i);
    Dataset<Row> renamed = rows.toDF(unique);
    Column[] columns = new Column[fields.length];
    for (int i = 0; i < fields.length; i++) {
      Column column = renamed.col(unique[i]);
      boolean text = ResultSchema.travelsAsText(fields[i].dataType());
      columns[i] = (text ? column.cast("string") : column).as(fields[i].name());
    }
    return renamed.select(columns);
  }
}
