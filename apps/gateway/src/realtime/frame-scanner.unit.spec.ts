import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { closeFrame, FrameScanner } from './frame-scanner.ts';

interface Said {
  readonly opcode: number;
  readonly final: boolean;
  readonly payload: Buffer;
  readonly mask: number | undefined;
}

function encode({ opcode, final, payload, mask }: Said): Buffer {
  const { length } = payload;
  const head = [opcode | (final ? 0x80 : 0)];
  const masked = mask === undefined ? 0 : 0x80;
  if (length < 126) head.push(masked | length);
  else if (length < 65_536) head.push(masked | 126, length >> 8, length & 0xff);
  else head.push(masked | 127, 0, 0, 0, 0, length >>> 24, (length >> 16) & 0xff, (length >> 8) & 0xff, length & 0xff);
  if (mask === undefined) return Buffer.concat([Buffer.from(head), payload]);
  const key = Buffer.alloc(4);
  key.writeUInt32BE(mask);
  const body = Buffer.from(payload.map((byte, index) => byte ^ key[index & 3]!));
  return Buffer.concat([Buffer.from(head), key, body]);
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const out: Buffer[] = [];
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const size = sizes.length === 0 ? bytes.length : sizes[turn % sizes.length]!;
    out.push(bytes.subarray(at, at + size));
    at += size;
  }
  return out;
}

const payload = fc
  .oneof(fc.nat(300), fc.constantFrom(125, 126, 65_535, 65_536, 70_000))
  .map((length) => Buffer.alloc(length, 'é7x'));
const mask = fc.option(fc.nat(0xffffffff), { nil: undefined });
/** One message: a first frame, continuations, and pings in between. */
const message = fc.tuple(
  fc.constantFrom(1, 2),
  fc.array(payload, { minLength: 1, maxLength: 3 }),
  fc.array(fc.boolean()),
  mask,
);

describe('A frame scanner', () => {
  test('counts the messages of any frames, however their bytes are split, and hands over unmasked text whole', () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 4 }),
        fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1000, max: 4999 }),
        mask,
        (messages, sizes, code, closeMask) => {
          const frames: Buffer[] = [];
          const texts: string[] = [];
          for (const [opcode, parts, pings, key] of messages) {
            for (const [index, part] of parts.entries()) {
              if (index > 0 && pings[index] === true) {
                frames.push(encode({ opcode: 9, final: true, payload: Buffer.from('hi'), mask: key }));
              }
              const final = index === parts.length - 1;
              frames.push(encode({ opcode: index === 0 ? opcode : 0, final, payload: part, mask: key }));
            }
            if (opcode === 1 && key === undefined) texts.push(Buffer.concat(parts).toString('utf8'));
          }
          const got: string[] = [];
          const scanner = new FrameScanner(
            () => true,
            (text) => got.push(text),
          );
          for (const chunk of cut(Buffer.concat(frames), sizes)) scanner.feed(chunk);
          expect(scanner.messages).toBe(messages.length);
          expect(scanner.atBoundary).toBe(true);
          expect(scanner.closeCode).toBe(0);
          expect(got).toEqual(texts);
          for (const chunk of cut(closeFrame(code, 'because é', closeMask), sizes)) scanner.feed(chunk);
          expect(scanner.closeCode).toBe(code);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('keeps only text that is wanted, and knows where no frame is under way', () => {
    const got: string[] = [];
    const scanner = new FrameScanner(
      (beginning) => beginning.includes('yes'),
      (text) => got.push(text),
    );
    const say = (text: string): Buffer =>
      encode({ opcode: 1, final: true, payload: Buffer.from(text), mask: undefined });
    scanner.feed(say('no, thanks'));
    const yes = say(`yes${'.'.repeat(1000)}`);
    scanner.feed(yes.subarray(0, 500));
    expect(scanner.atBoundary).toBe(false);
    scanner.feed(yes.subarray(500));
    scanner.feed(say(`yes${'.'.repeat(1024 * 1024)}`));
    expect(got).toEqual([`yes${'.'.repeat(1000)}`]);
    expect(scanner.messages).toBe(3);
    scanner.feed(Buffer.from([0x88, 0]));
    expect(scanner.closeCode).toBe(1005);
  });

  test('of bytes that are no frames never throws', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (chunks) => {
        const scanner = new FrameScanner(() => true);
        for (const chunk of chunks) scanner.feed(Buffer.from(chunk));
      }),
    );
  });
});
