// Numbers as Kafka's records have them: zigzag, seven bits to a byte, the lowest first.

const zigzag = (value: number): number => (value >= 0 ? value * 2 : value * -2 - 1);

/** Bytes of a whole number; |value| ≤ 2^52. */
export function varintSize(value: number): number {
  let rest = zigzag(value);
  let bytes = 1;
  while (rest >= 0x80) {
    rest = Math.floor(rest / 0x80);
    bytes += 1;
  }
  return bytes;
}

/** Writes it; answers where it ends. */
export function varint(into: Uint8Array, at: number, value: number): number {
  let rest = zigzag(value);
  while (rest >= 0x80) {
    into[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  into[at] = rest;
  return at + 1;
}

/** Reads them one after the other. */
export class VarintReader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  read(): number {
    const { bytes } = this;
    let byte = bytes[this.at++]!;
    let rest = byte & 0x7f;
    for (let scale = 0x80; byte >= 0x80; scale *= 0x80) {
      byte = bytes[this.at++]!;
      rest += (byte & 0x7f) * scale;
    }
    return rest % 2 === 0 ? rest / 2 : -(rest + 1) / 2;
  }
}
