import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { FrameStream } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { errorCode, errorText } from '#libs/kernel';
import { FramePublisher } from './frame-publisher.ts';
import { recordingLimits } from './limits.ts';
import type { SpoolHolder } from './spool-owner.ts';
import { abandoned, own, stillAbandoned, stillOwns } from './spool-owner.ts';
import { Spool } from './spool.ts';

export interface LeftSpoolsOptions {
  /** Homes of gateways that may have gone: their spools stand in `<home>/spool/<gateway>`, and those of workers one folder deeper. */
  readonly root: string;
  /** Where spools that were taken over stand: `<home>/spool` of this gateway. */
  readonly folder: string;
  readonly holder: SpoolHolder;
  readonly stream: FrameStream;
  readonly environment: Environment;
  readonly say: (line: string) => void;
}

interface Following {
  readonly name: string;
  readonly folder: string;
  readonly spool: Spool;
  readonly publisher: FramePublisher;
  readonly frames: number;
}

const { leftSpoolsAtOnceMax, leftSpoolsLookMs, leftSpoolsFollowMs, spoolSilentMsMax } = recordingLimits;

/**
 * Frames that gateways which never come back left on disk. A spool is taken by renaming its folder, which one of several wins; its frames follow
 * under their own ids, so that one which two have sent stands once in the stream; then it is deleted.
 */
export class LeftSpools {
  /** Spools that were followed to their end, and the frames that went to the stream or stood there already. */
  readonly counts = { spools: 0, frames: 0 };
  readonly #options: LeftSpoolsOptions;
  readonly #following: Following[] = [];
  #timer: Timer | undefined;
  #lookAtMs = 0;
  #ids = 0;
  #lastError = '';

  constructor(options: LeftSpoolsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer ??= this.#options.environment.timers.every(leftSpoolsFollowMs, () => void this.#tick());
    void this.#tick();
  }

  /** What is left of those under way waits for another one. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await Promise.all(this.#following.splice(0).map(({ publisher }) => publisher.stop(0)));
  }

  async #tick(): Promise<void> {
    const { environment } = this.#options;
    try {
      for (const { folder } of this.#following) stillOwns(folder, this.#options.holder, environment.clock.nowMs());
      const done = this.#following.filter(({ spool }) => spool.frames === 0);
      for (const one of done) await this.#done(one);
      const nowMs = environment.clock.monotonicMs();
      if (this.#lookAtMs > nowMs) return;
      this.#lookAtMs = nowMs + leftSpoolsLookMs;
      this.#look();
    } catch (thrown) {
      this.#failed(thrown);
    }
  }

  /** Once for the same. */
  #failed(thrown: unknown): void {
    const text = errorText(thrown);
    if (text !== this.#lastError) this.#options.say(`spools that were left: ${text}`);
    this.#lastError = text;
  }

  async #done(one: Following): Promise<void> {
    const at = this.#following.indexOf(one);
    if (at < 0) return;
    this.#following.splice(at, 1);
    await one.publisher.stop();
    rmSync(one.folder, { recursive: true, force: true });
    this.counts.spools++;
    this.counts.frames += one.frames;
    if (one.frames > 0) this.#options.say(`${one.frames} frames that ${one.name} had left on disk have followed`);
  }

  #look(): void {
    const { root, folder, holder, environment } = this.#options;
    const homes = [root, ...namesIn(root).map((name) => join(root, name))];
    const spools = [...new Set([...homes.map((home) => join(home, 'spool')), folder])];
    for (const parent of spools) {
      for (const name of namesIn(parent)) {
        const left = join(parent, name);
        if (this.#following.length >= leftSpoolsAtOnceMax) return;
        if (this.#following.some((one) => one.folder === left)) continue;
        const seen = abandoned(left, holder, environment.clock.nowMs(), spoolSilentMsMax);
        if (seen !== undefined) this.#take(left, name, seen);
      }
    }
  }

  #take(left: string, name: string, seen: string): void {
    const { holder, stream, environment } = this.#options;
    const mine = join(this.#options.folder, `left-${holder.bootId}-${++this.#ids}`);
    try {
      renameSync(left, mine);
    } catch (thrown) {
      // Another one was faster.
      if (errorCode(thrown) !== 'ENOENT') this.#failed(thrown);
      return;
    }
    // Its owner began again in this very moment: what it has opened goes with the folder.
    if (!stillAbandoned(mine, seen)) {
      if (!existsSync(left)) renameSync(mine, left);
      return;
    }
    own(mine, holder);
    const spool = new Spool({ folder: mine });
    const publisher = new FramePublisher({ stream, spool, environment });
    this.#following.push({ name, folder: mine, spool, publisher, frames: spool.frames });
    publisher.start();
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errorCode(thrown))) return [];
    throw thrown;
  }
}
