/** Notes how far something is, the newest only and one at a time: for people to look at. */
export function noting<T>(write: (newest: T) => Promise<void>): {
  note(value: T): void;
  end(): Promise<void>;
} {
  let newest: { readonly value: T } | null = null;
  let running: Promise<void> | null = null;
  async function run(): Promise<void> {
    while (newest !== null) {
      const { value } = newest;
      newest = null;
      await write(value).catch(() => {});
    }
    running = null;
  }
  return {
    note(value) {
      newest = { value };
      running ??= run();
    },
    end: () => running ?? Promise.resolve(),
  };
}
