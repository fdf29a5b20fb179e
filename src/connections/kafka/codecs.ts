import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import kafkajs from 'kafkajs';
import { compressFrame, decompressFrame } from 'lz4-napi';

const zstd = promisify(zstdCompress);
const unzstd = promisify(zstdDecompress);

/** Names of the compressions a producer can use, as the configuration spells them. */
export type Compression = 'none' | 'gzip' | 'lz4' | 'zstd';

const TYPES = {
  none: kafkajs.CompressionTypes.None,
  gzip: kafkajs.CompressionTypes.GZIP,
  lz4: kafkajs.CompressionTypes.LZ4,
  zstd: kafkajs.CompressionTypes.ZSTD,
} as const;

export function compressionType(name: Compression): (typeof TYPES)[Compression] {
  return TYPES[name];
}

export interface Codec {
  compress(records: { readonly buffer: Buffer }): Promise<Buffer>;
  decompress(packed: Buffer): Promise<Buffer>;
}

/** By the number that a batch has of it; throws kafkajs's error where there is none. */
export function codecOf(type: number): Codec {
  return (kafkajs.CompressionCodecs as Readonly<Record<number, () => Codec>>)[type]!();
}

/** kafkajs itself brings gzip only; its codecs are one table for the whole process. */
export function registerCodecs(): void {
  kafkajs.CompressionCodecs[kafkajs.CompressionTypes.LZ4] = () => ({
    compress: ({ buffer }: { buffer: Buffer }) => compressFrame(buffer),
    decompress: (buffer: Buffer) => decompressFrame(buffer),
  });
  kafkajs.CompressionCodecs[kafkajs.CompressionTypes.ZSTD] = () => ({
    // Level 1: the link to the broker is rarely the bottleneck, this process is.
    compress: ({ buffer }: { buffer: Buffer }) =>
      zstd(buffer, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }),
    decompress: (buffer: Buffer) => unzstd(buffer),
  });
}
