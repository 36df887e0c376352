import type { route } from '#libs/contracts';
import type { RouteState } from '#libs/domain/route';
import type { Broker, Following, Stop } from '#libs/event-log';
import type { Environment, Timer } from '#libs/kernel';
import { errorText } from '#libs/kernel';
import type { KvSource } from '#libs/kv-stream';
import { decodeWanted, KvFold, kvSourceOf, kvStreamLimits, wantedPattern } from '#libs/kv-stream';
import { limits } from '../limits.ts';
import type { FollowerParts } from './replica-follower.ts';
import { ReplicaFollower } from './replica-follower.ts';

export interface EnginesOptions {
  readonly broker: Broker;
  readonly environment: Environment;
  readonly instance: string;
  readonly say: (line: string) => void;
  readonly tuning?: FollowerParts['tuning'];
  /** For simulation. */
  readonly sockets?: FollowerParts['sockets'];
  readonly outboxBytesMax?: number;
}

/** All replicas with KV events: the fold of the stream, and for each who follows it. */
export class Engines {
  readonly fold: KvFold;
  readonly followers = new Map<string, ReplicaFollower>();
  /** As registered; also those without KV events. */
  readonly registrations = new Map<string, route.ReplicaRegistered>();
  readonly writer: string;
  problems = 0;
  readonly #options: EnginesOptions;
  readonly #stopping = new Set<Promise<void>>();
  #waiters: { replicaId: string; seq: number; done: () => void }[] = [];
  #following: Following | undefined;
  #caughtUpAt = Infinity;
  #timer: Timer | undefined;
  #wanted: Stop | undefined;
  #stopped = false;
  #running: Promise<void> | undefined;

  constructor(options: EnginesOptions) {
    this.#options = options;
    const { environment, instance, say } = options;
    this.writer = `${instance}.${environment.ids.uuid().slice(0, 8)}`;
    this.fold = new KvFold(environment, {
      claimed: (replicaId, writer) => this.followers.get(replicaId)?.claimed(writer),
      folded: (replicaId, seq) => this.#folded(replicaId, seq),
      problem: (replicaId, problem) => {
        this.problems++;
        say(`${replicaId}: ${problem}`);
      },
    });
  }

  /** The stream as it stood at the start is folded. */
  get caughtUp(): boolean {
    return this.#caughtUpAt === -Infinity;
  }

  start(): void {
    this.#running ??= this.#run();
    this.#timer = this.#options.environment.timers.every(kvStreamLimits.beatMs, () => {
      if (!this.caughtUp) return;
      for (const follower of this.followers.values()) follower.tick();
      this.fold.forgetGone(this.followers);
    });
  }

  /** Brings who is followed in line with who is registered. */
  follow(state: RouteState): void {
    const { say } = this.#options;
    const wanted = new Map<string, KvSource>();
    this.registrations.clear();
    for (const [replicaId, { registration }] of state.replicas) {
      this.registrations.set(replicaId, registration);
      try {
        const source = kvSourceOf(registration);
        if (source !== undefined && wanted.size < limits.replicasMax) wanted.set(replicaId, source);
      } catch (thrown) {
        say(`${replicaId}: ${errorText(thrown)}`);
      }
    }
    for (const [replicaId, follower] of this.followers) {
      const source = wanted.get(replicaId);
      if (source !== undefined && sameSource(source, follower.source)) continue;
      this.followers.delete(replicaId);
      this.#stop(follower, source === undefined);
    }
    for (const [replicaId, source] of wanted) {
      if (!this.followers.has(replicaId)) this.followers.set(replicaId, this.#follower(replicaId, source));
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#wanted?.();
    for (const follower of this.followers.values()) this.#stop(follower, false);
    await Promise.all(this.#stopping);
    for (const { done } of this.#waiters) done();
    await this.#following?.stop();
    await this.#running;
  }

  #follower(replicaId: string, source: KvSource): ReplicaFollower {
    const { broker, environment, say, tuning, sockets, outboxBytesMax } = this.#options;
    return new ReplicaFollower(replicaId, source, {
      writer: this.writer,
      stream: broker.kv,
      fold: this.fold,
      environment,
      say,
      foldedTo: async (id, seq) => await this.#foldedTo(id, seq),
      tuning,
      sockets,
      outboxBytesMax: outboxBytesMax ?? limits.outboxBytesMax,
    });
  }

  #stop(follower: ReplicaFollower, removed: boolean): void {
    const stopped = follower
      .stop(removed)
      .catch((thrown: unknown) => this.#options.say(`${follower.replicaId}: ${errorText(thrown)}`))
      .finally(() => this.#stopping.delete(stopped));
    this.#stopping.add(stopped);
  }

  /** Until it works: the broker may be away. */
  async #run(): Promise<void> {
    const { broker, environment, say } = this.#options;
    for (let said = false; !this.#stopped;) {
      try {
        this.#wanted ??= await broker.telemetry.subscribe(wantedPattern, (_subject, bytes) => {
          for (const id of decodeWanted(bytes)?.replicaIds ?? []) this.followers.get(id)?.snapshot();
        });
        const lastSeq = await broker.kv.lastSeq();
        const firstSeq = await broker.kv.firstSeq();
        if (this.#caughtUpAt === Infinity) this.#caughtUpAt = firstSeq > lastSeq ? -Infinity : lastSeq;
        this.#following = await broker.kv.follow({ fromSeq: firstSeq }, async (frame) => {
          await this.fold.apply(frame);
          if (frame.seq >= this.#caughtUpAt) this.#caughtUpAt = -Infinity;
        });
        await this.#following.ended;
        return;
      } catch (thrown) {
        if (!said) say(`the stream of KV events cannot be followed yet: ${errorText(thrown)}`);
        said = true;
        await environment.timers.sleep(limits.retryMs);
      }
    }
  }

  #folded(replicaId: string, seq: number): void {
    if (this.#waiters.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => {
      if (waiter.replicaId !== replicaId || waiter.seq > seq) return true;
      waiter.done();
      return false;
    });
  }

  async #foldedTo(replicaId: string, seq: number): Promise<void> {
    if ((this.fold.replicas.get(replicaId)?.lastSeq ?? 0) >= seq) return;
    const come = Promise.withResolvers<void>();
    const waiter = { replicaId, seq, done: come.resolve };
    this.#waiters.push(waiter);
    const timer = this.#options.environment.timers.after(limits.echoMsMax, come.resolve);
    await come.promise;
    timer.cancel();
    this.#waiters = this.#waiters.filter((one) => one !== waiter);
  }
}

const sameSource = (a: KvSource, b: KvSource): boolean =>
  a.endpoint === b.endpoint && a.replay === b.replay && a.blockTokens === b.blockTokens;
