import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { RecordedTunnel, RecordedUsage } from '#libs/recording';
import { closeFrame, FrameScanner } from './frame-scanner.ts';
import { SessionUsage, tellsUsage } from './session-usage.ts';

/** `clean`: a close frame had been seen, of `who`, by `code`; else `who` vanished. */
export interface TunnelEnd {
  readonly who: 'client' | 'engine';
  readonly clean: boolean;
  readonly code: number;
}

export interface TunnelOwner {
  nowMs(): number;
  /** Four random bytes. */
  maskKey(): number;
  /** At most once. */
  ended(end: TunnelEnd): void;
}

/** Bytes of one session between two sockets, both ways, at the pace of the slower one. What passes is read, never changed. */
export class Tunnel {
  lastByteMs: number;
  /** Since when one side takes nothing of what waits for it; Infinity while both do. */
  stalledSinceMs = Number.POSITIVE_INFINITY;
  #bytesUp = 0;
  #bytesDown = 0;
  #over = false;
  /** Whoever's close frame came first. */
  #closedBy: 'client' | 'engine' | undefined;
  #closeCode = 0;
  readonly #told = new SessionUsage();
  readonly #up = new FrameScanner();
  readonly #down = new FrameScanner(tellsUsage, (text) => this.#told.event(text));

  constructor(
    private readonly client: Duplex,
    private readonly engine: Socket,
    private readonly owner: TunnelOwner,
  ) {
    this.lastByteMs = owner.nowMs();
  }

  /** `early` came from the client, `head` from the engine, before the tunnel stood. */
  start(early: Buffer, head: Buffer): void {
    const { client, engine } = this;
    client.on('data', (chunk: Buffer) => this.#pass(chunk, true));
    engine.on('data', (chunk: Buffer) => this.#pass(chunk, false));
    client.on('drain', () => this.#drained(engine));
    engine.on('drain', () => this.#drained(client));
    client.on('end', () => this.#end('client'));
    engine.on('end', () => this.#end('engine'));
    engine.on('close', () => this.#end('engine'));
    if (early.length > 0) this.#pass(early, true);
    if (head.length > 0) this.#pass(head, false);
    client.resume();
    engine.resume();
  }

  get usage(): RecordedUsage | undefined {
    return this.#told.usage;
  }

  told(): RecordedTunnel {
    return {
      bytesUp: this.#bytesUp,
      bytesDown: this.#bytesDown,
      messagesUp: this.#up.messages,
      messagesDown: this.#down.messages,
      closeCode: this.#closeCode,
    };
  }

  #pass(chunk: Buffer, up: boolean): void {
    this.lastByteMs = this.owner.nowMs();
    const scanner = up ? this.#up : this.#down;
    if (up) this.#bytesUp += chunk.length;
    else this.#bytesDown += chunk.length;
    scanner.feed(chunk);
    if (scanner.closeCode !== 0 && this.#closedBy === undefined) {
      this.#closedBy = up ? 'client' : 'engine';
      this.#closeCode = scanner.closeCode;
    }
    const [from, to] = up ? [this.client, this.engine] : [this.engine, this.client];
    if (to.destroyed || to.writableEnded || to.write(chunk)) return;
    from.pause();
    if (this.stalledSinceMs === Number.POSITIVE_INFINITY) this.stalledSinceMs = this.lastByteMs;
  }

  #drained(from: Duplex): void {
    this.stalledSinceMs = Number.POSITIVE_INFINITY;
    from.resume();
  }

  /** One side says no more: the other is told the same once it has all. */
  #end(who: 'client' | 'engine'): void {
    const first = !this.#over;
    this.#over = true;
    if (first) {
      const clean = this.#closedBy !== undefined;
      this.owner.ended({ who: this.#closedBy ?? who, clean, code: this.#closeCode });
      // Not a silent cut: the client is told where nothing else of the engine is under way.
      if (!clean && who === 'engine' && this.#down.atBoundary)
        this.#write(this.client, closeFrame(1014, 'The replica failed.'));
    }
    this.client.end();
    this.engine.end();
  }

  /** Tells both sides to close, where that does not fall into the middle of a frame, and says no more. */
  close(code: number, reason: string): void {
    this.#over = true;
    this.#closeCode ||= code;
    if (this.#down.atBoundary) this.#write(this.client, closeFrame(code, reason));
    if (this.#up.atBoundary) this.#write(this.engine, closeFrame(code, reason, this.owner.maskKey()));
    this.client.end();
    this.engine.end();
  }

  #write(to: Duplex, bytes: Buffer): void {
    if (!to.destroyed && to.writable) to.write(bytes);
  }

  clientClosed(): void {
    this.#end('client');
  }

  destroy(): void {
    if (this.stalledSinceMs === Number.POSITIVE_INFINITY) this.engine.destroySoon();
    else this.engine.destroy();
  }
}

/** Codes of a close by which an engine says that it failed: RFC 6455 7.4 and IANA's registry. */
export const brokenCodes = new Set([1002, 1006, 1011, 1012, 1013, 1014]);
