package deltaferry.warehouse;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The rows of one result, as Arrow record batches in the order of the query. A small result stays in memory;
 * beyond a budget per result and one for all results together the batches go to a file, so that neither one
 * huge result nor many idle ones fill the heap.
 *
 * <p>Tasks append to it while they run (they share this process), each to its own partition: partitions end in
 * any order and no partition is ever held whole.
 */
final class ResultStore implements AutoCloseable {
  /** Consecutive batches of a result; {@code more} says whether any follow. */
  record Page(long firstRow, List<ThriftStruct> batches, boolean more) {}

  private record Batch(byte[] memory, long offset, int length, long rows) {}

  private static final long MEMORY_PER_RESULT = 8L << 20, MEMORY_IN_ALL = 64L << 20, PAGE_BYTES = 16L << 20;
  private static final AtomicLong memoryInAll = new AtomicLong();
  private static final Map<String, ResultStore> open = new ConcurrentHashMap<>();

  private final String id;
  private final Path file;
  private final TreeMap<Integer, List<Batch>> partitions = new TreeMap<>();
  private List<Batch> batches = List.of();
  private RandomAccessFile spill;
  private long spilled, memory, row;
  private int next;
  private boolean closed;

  ResultStore(String id, Path directory) {
    this.id = id;
    this.file = directory.resolve(id + ".arrow");
    open.put(id, this);
  }

  /** The store that a task was told to write to. */
  static ResultStore of(String id) {
    ResultStore store = open.get(id);
    if (store == null) throw new IllegalStateException("The result " + id + " was closed");
    return store;
  }

  /** A partition starts, or starts again: what an earlier attempt left does not count. */
  synchronized void begin(int partition) {
    partitions.put(partition, new ArrayList<>());
  }

  synchronized void append(int partition, byte[] batch, long rows) throws IOException {
    if (closed) throw new IllegalStateException("The result " + id + " was closed");
    partitions.get(partition).add(keep(batch, rows));
  }

  /** All partitions are written: from here on the result can be read. */
  synchronized void seal() {
    batches = partitions.values().stream().flatMap(List::stream).toList();
  }

  /** The next batches: at most {@code maxRows} rows, but always one batch as batches are not cut. */
  synchronized Page page(long maxRows, boolean fromStart) throws IOException {
    if (fromStart) {
      next = 0;
      row = 0;
    }
    long firstRow = row, bytes = 0;
    List<ThriftStruct> out = new ArrayList<>();
    while (next < batches.size()) {
      Batch batch = batches.get(next);
      boolean fits = row - firstRow + batch.rows <= maxRows && bytes + batch.length <= PAGE_BYTES;
      if (!out.isEmpty() && !fits) break;
      out.add(new ThriftStruct().with(1, read(batch)).with(2, batch.rows));
      row += batch.rows;
      bytes += batch.length;
      next++;
    }
    return new Page(firstRow, out, next < batches.size());
  }

  @Override
  public synchronized void close() {
    if (closed) return;
    closed = true;
    open.remove(id);
    memoryInAll.addAndGet(-memory);
    partitions.clear();
    batches = List.of();
    try {
      if (spill != null) spill.close();
      Files.deleteIfExists(file);
    } catch (IOException e) {
      // Left-over files are removed at the next start.
      System.err.println("cannot remove " + file + ": " + e);
    }
  }

  private Batch keep(byte[] batch, long rows) throws IOException {
    boolean small = memory + batch.length <= MEMORY_PER_RESULT;
    if (small && memoryInAll.addAndGet(batch.length) <= MEMORY_IN_ALL) {
      memory += batch.length;
      return new Batch(batch, 0, batch.length, rows);
    }
    if (small) memoryInAll.addAndGet(-batch.length);
    if (spill == null) spill = new RandomAccessFile(file.toFile(), "rw");
    long at = spilled;
    spill.seek(at);
    spill.write(batch);
    spilled += batch.length;
    return new Batch(null, at, batch.length, rows);
  }

  private byte[] read(Batch batch) throws IOException {
    if (batch.memory != null) return batch.memory;
    byte[] bytes = new byte[batch.length];
    spill.seek(batch.offset);
    spill.readFully(bytes);
    return bytes;
  }
}
