import { twosComplement, unscaled } from './decimal.ts';
import { BIGINT_MAX, BIGINT_MIN } from './integers.ts';
import { misshapenValue } from './refusals.ts';

const SLAB_BYTES = 128 * 1024;
const LONGEST_VARINT = 10;
const TWO_32 = 2 ** 32;

/** Longest text whose length prefix is surely one byte, and that a loop copies faster than a native call. */
const SHORT_TEXT = 63;

/**
 * Writes Avro's binary form, record after record, into slabs. A finished record is a view of its slab, which
 * is never written there again, so it stays valid. A value of the wrong JavaScript form is a BugError.
 */
export class AvroWriter {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #start = 0;
  #at = 0;

  /** Begins a record, dropping one that was not finished. */
  begin(): void {
    this.#at = this.#start;
  }

  finish(): Buffer {
    const record = this.#slab.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return record;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#slab[this.#at++] = value;
  }

  /** Not Avro: four bytes, big-endian. */
  uint32(value: number): void {
    this.#reserve(4);
    this.#at = this.#slab.writeUInt32BE(value, this.#at);
  }

  boolean(value: unknown): void {
    if (typeof value !== 'boolean') throw misshapenValue('boolean', value);
    this.byte(value ? 1 : 0);
  }

  int(value: unknown): void {
    if (typeof value !== 'number' || value !== (value | 0)) throw misshapenValue('32-bit integer', value);
    this.long(value);
  }

  long(value: unknown): void {
    this.#reserve(LONGEST_VARINT);
    if (typeof value === 'number') {
      if (value >= -0x4000_0000 && value < 0x4000_0000 && value === (value | 0)) {
        this.#varint32((value << 1) ^ (value >> 31));
      } else if (Number.isSafeInteger(value)) {
        this.#zigzag(Math.floor(value / TWO_32), value >>> 0);
      } else throw misshapenValue('64-bit integer', value);
    } else if (typeof value === 'bigint' && value >= BIGINT_MIN && value <= BIGINT_MAX) {
      this.#zigzag(Number(value >> 32n), Number(BigInt.asUintN(32, value)));
    } else throw misshapenValue('64-bit integer', value);
  }

  float(value: unknown): void {
    if (typeof value !== 'number') throw misshapenValue('real', value);
    this.#reserve(4);
    this.#at = this.#slab.writeFloatLE(value, this.#at);
  }

  double(value: unknown): void {
    if (typeof value !== 'number') throw misshapenValue('double precision', value);
    this.#reserve(8);
    this.#at = this.#slab.writeDoubleLE(value, this.#at);
  }

  bytes(value: unknown): void {
    if (!(value instanceof Uint8Array)) throw misshapenValue('bytea', value);
    this.#reserve(value.length + LONGEST_VARINT);
    this.long(value.length);
    this.#slab.set(value, this.#at);
    this.#at += value.length;
  }

  text(value: unknown): void {
    if (typeof value !== 'string') throw misshapenValue('text', value);
    this.#reserve(value.length * 3 + LONGEST_VARINT);
    if (value.length <= SHORT_TEXT && this.#shortAscii(value)) return;
    // UTF-8 has no form for half a pair; Node would write U+FFFD in silence.
    if (!value.isWellFormed()) throw misshapenValue('well-formed text', value);
    this.long(Buffer.byteLength(value));
    this.#at += this.#slab.write(value, this.#at);
  }

  /** Canonical text with exactly `scale` decimals as Avro's decimal bytes. */
  decimal(value: unknown, scale: number): void {
    const digits = typeof value === 'string' ? unscaled(value, scale) : undefined;
    if (digits === undefined) throw misshapenValue(`numeric with ${scale} decimals`, value);
    if (typeof digits === 'bigint') this.bytes(twosComplement(digits));
    else this.#twosComplement(digits);
  }

  #twosComplement(value: number): void {
    this.#reserve(9);
    const size = bytesToHold(value);
    this.#slab[this.#at++] = size << 1;
    if (size > 4) {
      this.#bigEndian(Math.floor(value / TWO_32), size - 4);
      this.#bigEndian(value | 0, 4);
    } else this.#bigEndian(value, size);
  }

  #bigEndian(value: number, size: number): void {
    for (let shift = (size - 1) * 8; shift >= 0; shift -= 8) this.#slab[this.#at++] = value >> shift;
  }

  #shortAscii(text: string): boolean {
    const slab = this.#slab;
    const start = this.#at + 1;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) return false;
      slab[start + i] = code;
    }
    slab[this.#at] = text.length << 1;
    this.#at = start + text.length;
    return true;
  }

  /** `high` and `low` are the halves of a 64-bit integer in two's complement. */
  #zigzag(high: number, low: number): void {
    const sign = high >> 31;
    let upper = (((high << 1) | (low >>> 31)) ^ sign) >>> 0;
    let lower = ((low << 1) ^ sign) >>> 0;
    while (upper !== 0) {
      this.#slab[this.#at++] = (lower & 0x7f) | 0x80;
      lower = ((lower >>> 7) | (upper << 25)) >>> 0;
      upper >>>= 7;
    }
    this.#varint32(lower);
  }

  #varint32(bits: number): void {
    let rest = bits >>> 0;
    while (rest > 0x7f) {
      this.#slab[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#slab[this.#at++] = rest;
  }

  /** A record lies in one slab: what is written of it moves along to a new one. */
  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#slab.length) return;
    const written = this.#at - this.#start;
    const slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, 2 * (written + bytes)));
    this.#slab.copy(slab, 0, this.#start, this.#at);
    this.#slab = slab;
    this.#start = 0;
    this.#at = written;
  }
}

function bytesToHold(value: number): number {
  const magnitude = value < 0 ? -value - 1 : value;
  if (magnitude < 0x80) return 1;
  if (magnitude < 0x8000) return 2;
  if (magnitude < 0x80_0000) return 3;
  if (magnitude < 0x8000_0000) return 4;
  if (magnitude < 0x80_0000_0000) return 5;
  return magnitude < 0x8000_0000_0000 ? 6 : 7;
}
