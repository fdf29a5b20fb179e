import { PoisonError } from '../errors.ts';
import { asBuffer } from './bytes.ts';
import { exactInteger } from './integers.ts';

const TWO_32 = 2 ** 32;

/** A record's bytes are not what its schema says. */
export function undecodable(why: string): PoisonError {
  return new PoisonError({ code: 'UNDECODABLE', message: why });
}

/**
 * Reads Avro's binary form. Every read stays inside the bytes given and is bounded by them, whatever they
 * say; anything amiss is a PoisonError UNDECODABLE.
 */
export class AvroReader {
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  begin(bytes: Uint8Array, at: number): void {
    this.#bytes = asBuffer(bytes);
    this.#at = at;
  }

  end(): void {
    const left = this.#bytes.length - this.#at;
    if (left !== 0) throw undecodable(`${left} bytes follow the record`);
  }

  /** The next byte, unsigned. */
  byte(): number {
    if (this.#at >= this.#bytes.length) throw undecodable('the bytes end inside the record');
    return this.#bytes[this.#at++] as number;
  }

  boolean(): boolean {
    const byte = this.byte();
    if (byte > 1) throw undecodable(`${byte} is not a boolean`);
    return byte === 1;
  }

  int(): number {
    const value = this.long();
    if (typeof value !== 'number' || value !== (value | 0))
      throw undecodable(`${value} is not a 32-bit integer`);
    return value;
  }

  long(): number | bigint {
    let byte = this.byte();
    let lower = byte & 0x7f;
    for (let shift = 7; byte >= 0x80; shift += 7) {
      if (shift === 28) return this.#longTail(lower);
      byte = this.byte();
      lower |= (byte & 0x7f) << shift;
    }
    return (lower >>> 1) ^ -(lower & 1);
  }

  /** The index of a union's branch or of an enum's symbol. */
  index(count: number): number {
    const index = this.long();
    if (typeof index === 'bigint' || index < 0 || index >= count) {
      throw undecodable(`${index} is not one of ${count} branches`);
    }
    return index;
  }

  float(): number {
    return this.#bytes.readFloatLE(this.#take(4));
  }

  double(): number {
    return this.#bytes.readDoubleLE(this.#take(8));
  }

  /** A copy: the record's own bytes belong to the fetch they came with. */
  bytes(): Uint8Array {
    const size = this.#size();
    const start = this.#take(size);
    return Uint8Array.prototype.slice.call(this.#bytes, start, start + size);
  }

  text(): string {
    const size = this.#size();
    const start = this.#take(size);
    const text = this.#bytes.toString('utf8', start, start + size);
    // Malformed UTF-8 would pass as U+FFFD; a real one encodes to the very same bytes.
    if (text.includes('\ufffd') && !this.#equals(Buffer.from(text), start, size)) {
      throw undecodable('a text is not UTF-8');
    }
    return text;
  }

  /** The same, for texts that seldom change from record to record. */
  repeatedText(last: RepeatedText): string {
    const start = this.#at;
    if (this.#startsWith(last.encoded)) {
      this.#at += last.encoded.length;
      return last.text;
    }
    last.text = this.text();
    last.encoded = Uint8Array.prototype.slice.call(this.#bytes, start, this.#at);
    return last.text;
  }

  /** The unscaled integer of a decimal. */
  decimal(): number | bigint {
    const size = this.#size();
    if (size === 0 || size > 32) throw undecodable(`a decimal of ${size} bytes`);
    const start = this.#take(size);
    let value = ((this.#bytes[start] as number) << 24) >> 24;
    // Seven bytes and more may pass 2^53.
    const narrow = Math.min(size, 6);
    for (let i = 1; i < narrow; i++) value = value * 256 + (this.#bytes[start + i] as number);
    if (narrow === size) return value;
    let wide = BigInt(value);
    for (let i = narrow; i < size; i++) wide = (wide << 8n) | BigInt(this.#bytes[start + i] as number);
    return exactInteger(wide);
  }

  /** Passes over a text, bytes or a fixed of `size` bytes. */
  skip(size: number = this.#size()): void {
    this.#take(size);
  }

  #longTail(first28: number): number | bigint {
    let lower = first28 >>> 0;
    let upper = 0;
    for (let shift = 28; ; shift += 7) {
      const byte = this.byte();
      if (shift === 63 && byte > 1) throw undecodable('an integer of more than 64 bits');
      const bits = byte & 0x7f;
      if (shift === 28) {
        lower = (lower | (bits << 28)) >>> 0;
        upper = bits >>> 4;
      } else upper = (upper | (bits << (shift - 32))) >>> 0;
      if (byte < 0x80) break;
    }
    const sign = -(lower & 1);
    const low = (((lower >>> 1) | (upper << 31)) ^ sign) >>> 0;
    const high = (upper >>> 1) ^ sign;
    const value = high * TWO_32 + low;
    return Number.isSafeInteger(value) ? value : (BigInt(high) << 32n) | BigInt(low);
  }

  #size(): number {
    const size = this.long();
    if (typeof size === 'bigint' || size < 0 || size > this.#bytes.length - this.#at) {
      throw undecodable(`a length of ${size} where ${this.#bytes.length - this.#at} bytes are left`);
    }
    return size;
  }

  #take(size: number): number {
    const start = this.#at;
    if (size > this.#bytes.length - start) throw undecodable('the bytes end inside the record');
    this.#at = start + size;
    return start;
  }

  #startsWith(expected: Uint8Array): boolean {
    return expected.length > 0 && this.#equals(expected, this.#at, expected.length);
  }

  #equals(expected: Uint8Array, start: number, size: number): boolean {
    if (expected.length !== size || size > this.#bytes.length - start) return false;
    for (let i = 0; i < size; i++) if (this.#bytes[start + i] !== expected[i]) return false;
    return true;
  }
}

/** The last text read in one place, with its encoded form (length and bytes). */
export interface RepeatedText {
  text: string;
  encoded: Uint8Array;
}

export function repeatedText(): RepeatedText {
  return { text: '', encoded: new Uint8Array(0) };
}
