// What a client sends to one partition in one request is one record batch, and max.message.bytes of the topic
// bounds the batch: stay below Kafka's default of 1 MiB before compression, batch header and record headers.
const MESSAGES_PER_PARTITION = 5000;
const BYTES_PER_PARTITION = 700_000;
// Far below socket.request.max.bytes (100 MiB), beyond which a broker closes the connection, and little memory.
const BYTES_PER_REQUEST = 6 * 1024 * 1024;

/** How full a request to one topic is. A message that is larger than all bounds goes alone to its partition. */
export class RequestSize {
  readonly #counts: Uint32Array;
  readonly #bytes: Float64Array;
  #all = 0;

  constructor(partitions: number) {
    this.#counts = new Uint32Array(partitions);
    this.#bytes = new Float64Array(partitions);
  }

  /** Counts the message in; false, and nothing is counted, where it has to go with the next request. */
  add(partition: number, bytes: number): boolean {
    const count = this.#counts[partition] ?? 0;
    const before = this.#bytes[partition] ?? 0;
    if (this.#all > 0 && this.#all + bytes > BYTES_PER_REQUEST) return false;
    if (count >= MESSAGES_PER_PARTITION || (count > 0 && before + bytes > BYTES_PER_PARTITION)) return false;
    this.#counts[partition] = count + 1;
    this.#bytes[partition] = before + bytes;
    this.#all += bytes;
    return true;
  }

  /** The next request begins. */
  clear(): void {
    this.#counts.fill(0);
    this.#bytes.fill(0);
    this.#all = 0;
  }
}

/** The same messages, in order, as lists that a request takes; all are for one partition. */
export function* requestsOf<M>(
  messages: Iterable<M>,
  sizeOf: (message: M) => number,
): Generator<M[], void, undefined> {
  const size = new RequestSize(1);
  let request: M[] = [];
  for (const message of messages) {
    const bytes = sizeOf(message);
    if (!size.add(0, bytes)) {
      yield request;
      request = [];
      size.clear();
      size.add(0, bytes);
    }
    request.push(message);
  }
  if (request.length > 0) yield request;
}
