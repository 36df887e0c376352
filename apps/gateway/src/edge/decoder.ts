import { countHeader } from '../serve/headers.ts';
import type { Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib';

/** What bodies may be encoded as. */
export const acceptedEncodings = 'gzip, deflate, br, zstd';

const makers: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
};

export interface DecodeLimits {
  /** Bytes that come of one byte, past the first `expandedBytesFree`. JSON of one repeated word comes to some hundred. */
  readonly ratioMax: number;
  readonly expandedBytesFree: number;
}

export const decodeLimits: DecodeLimits = { ratioMax: 200, expandedBytesFree: 1024 * 1024 };

/** Whoever takes the decoded body. After `decodeFailed` nothing more is told. */
export interface Decoded {
  decodedData(chunk: Buffer): void;
  decodedEnd(): void;
  /** `bomb`: it expands beyond all measure; else it is broken. */
  decodeFailed(bomb: boolean): void;
}

interface Source {
  readonly rawHeaders: readonly string[];
  pause(): unknown;
  resume(): unknown;
}

/** What decodes a request's body; undefined where it is encoded as we do not know, or in more than one way. */
export function decoderOf(said: string, source: Source, to: Decoded): Decoder | undefined {
  const encoding = said.trim().toLowerCase();
  const known = Object.hasOwn(makers, encoding) && countHeader(source.rawHeaders, 'content-encoding') === 1;
  return known ? new Decoder(encoding, source, to) : undefined;
}

/** A request body that came compressed: decoded as it comes, given up as soon as it expands too much. */
export class Decoder {
  readonly #stream: Transform;
  readonly #to: Decoded;
  readonly #limits: DecodeLimits;
  readonly #source: Pick<Source, 'pause' | 'resume'>;
  #in = 0;
  #out = 0;
  #done = false;

  constructor(
    encoding: string,
    source: Pick<Source, 'pause' | 'resume'>,
    to: Decoded,
    limits: DecodeLimits = decodeLimits,
  ) {
    this.#to = to;
    this.#source = source;
    this.#limits = limits;
    this.#stream = (makers[encoding] as () => Transform)();
    this.#stream.on('data', (chunk: Buffer) => this.#data(chunk));
    this.#stream.on('end', () => this.#end());
    this.#stream.on('error', () => this.#fail(false));
    this.#stream.on('drain', () => this.#source.resume());
  }

  feed(chunk: Buffer): void {
    if (this.#done) return;
    this.#in += chunk.length;
    if (!this.#stream.write(chunk)) this.#source.pause();
  }

  end(): void {
    if (!this.#done) this.#stream.end();
  }

  /** Nobody wants it any more. */
  stop(): void {
    this.#done = true;
    this.#stream.destroy();
  }

  #data(chunk: Buffer): void {
    if (this.#done) return;
    this.#out += chunk.length;
    const { ratioMax, expandedBytesFree } = this.#limits;
    if (this.#out > expandedBytesFree && this.#out > this.#in * ratioMax) this.#fail(true);
    else this.#to.decodedData(chunk);
  }

  #end(): void {
    if (this.#done) return;
    this.stop();
    this.#to.decodedEnd();
  }

  #fail(bomb: boolean): void {
    if (this.#done) return;
    this.stop();
    this.#to.decodeFailed(bomb);
  }
}
