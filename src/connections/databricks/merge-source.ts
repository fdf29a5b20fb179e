import type { TableMapping } from '../../change/table.ts';
import { OperatorError } from '../../errors.ts';
import type { MergePart } from '../../ports/merge-sink.ts';
import { mergeLine } from './merge-rows.ts';
import type { Staging } from './staging.ts';

/** The rows of one merge, where the warehouse can read them. */
export interface MergeSource {
  /** JSON array of the rows; empty where they are in `file`. */
  readonly inline: string;
  /** Path of the staged file, null where they are inline. */
  readonly file: string | null;
}

export interface MergeSources {
  prepare(parts: readonly MergePart[], signal: AbortSignal): Promise<MergeSource>;
  /** No merge needs it any more. The file is removed in the background, or by a later sweep. */
  discard(source: MergeSource): void;
  /** Waits for what is being removed. */
  close(): Promise<void>;
}

/** What Databricks takes as one statement with its parameters is 16 MiB. */
const MOST_INLINE_BYTES = 14_000_000;

export interface MergeSourcesOptions {
  readonly mapping: TableMapping;
  readonly staging: Staging | null;
  readonly inlineBytes: number;
}

export function createMergeSource({ mapping, staging, inlineBytes }: MergeSourcesOptions): MergeSources {
  const lineOf = mergeLine(mapping);
  const removals = new Set<Promise<void>>();

  return {
    async prepare(parts, signal) {
      const lines: string[] = [];
      for (const { changes } of parts) for (const change of changes) lines.push(lineOf(change));
      const text = lines.join('\n');
      const bytes = Buffer.byteLength(text);
      const [first] = parts;
      if (bytes <= inlineBytes || staging === null || first === undefined) {
        if (bytes > MOST_INLINE_BYTES) throw tooLarge(mapping, bytes);
        return { inline: `[${lines.join(',')}]`, file: null };
      }
      return { inline: '', file: await staging.put(text, first, signal) };
    },

    discard({ file }) {
      if (file === null || staging === null) return;
      const removal = staging
        .remove(file)
        .catch(() => {})
        .finally(() => removals.delete(removal));
      removals.add(removal);
    },

    async close() {
      await Promise.all(removals);
    },
  };
}

function tooLarge(mapping: TableMapping, bytes: number): OperatorError {
  return new OperatorError({
    code: 'MERGE_TOO_LARGE',
    message: `A merge of table ${mapping.name} has ${bytes} bytes, more than the ${MOST_INLINE_BYTES} that a statement takes.`,
    remedy: 'Set databricks.stagingVolume, or lower merging.maxBytes below 4 MiB.',
  });
}
