import type { StoredCommit, StoredFrame } from '#libs/event-log';
import { MemoryFrameStream } from '#libs/event-log';
import { SeededRng } from '#libs/kernel';
import { MemoryProjectionStore } from '#libs/projections';
import { SimBroker } from './broker.ts';
import { Clients } from './clients.ts';
import { DatabaseServer } from './database.ts';
import type { Faults } from './faults.ts';
import { noFaults } from './faults.ts';
import { Gateway } from './gateway.ts';
import { Network } from './network.ts';
import { Notaries } from './notaries.ts';
import { Oracle } from './oracle.ts';
import type { Plants } from './plants.ts';
import { SimProcess } from './process.ts';
import { Projectors } from './projectors.ts';
import { Reactors } from './reactors.ts';
import { Readers } from './readers.ts';
import type { Actor, Stage } from './stage.ts';
import { simEpochMs, VirtualTime } from './virtual-time.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly faults: Faults;
  readonly commands?: number;
  readonly stormMs?: number;
  readonly plants?: Plants;
}

const commandsUsual = 60;
const stormMsUsual = 15_000;
const chaosPeriodMs = 250;
const partitionMsMax = 3_000;
const restartMsMin = 20;
const restartMsMax = 2_000;
const skewChance = 0.3;
/** After the storm everything must have come right within this virtual time. */
const healMsMax = 120_000;

/**
 * The fleet of one run: clients, writers, readers, projectors, reactors, notaries and a gateway around one broker and one
 * database, all of the real code, on virtual time. Laws are looked at after each step.
 */
export class World implements Stage {
  readonly time = new VirtualTime();
  readonly rng: SeededRng;
  readonly network: Network;
  readonly broker: SimBroker;
  readonly database: DatabaseServer;
  readonly frames: { readonly stream: MemoryFrameStream; readonly stored: StoredFrame[] };
  readonly oracle: Oracle;
  readonly plants: Plants;
  readonly stormMs: number;
  /** What strikes until everything heals. */
  readonly stormFaults: Faults;
  calm = false;
  broken: string | undefined;
  note: ((text: string) => void) | undefined;
  readonly #processes: SimProcess[] = [];
  readonly #actors: readonly Actor[];
  readonly #gateway: Gateway;

  constructor(options: WorldOptions) {
    this.stormMs = options.stormMs ?? stormMsUsual;
    this.stormFaults = options.faults;
    this.plants = options.plants ?? {};
    this.rng = new SeededRng(options.seed);
    this.network = new Network(this.time, this.rng, options.faults);
    this.broker = new SimBroker(this.time, this.rng, {
      cluster: options.faults.fork > 0,
      expectationFirst: this.rng.chance(0.5),
      acknowledgesEarly: this.plants.brokerAcknowledgesEarly === true,
    });
    this.oracle = new Oracle(this.broker.commits);
    this.broker.onStored = (commit) => this.#onStored(commit);
    const store = this.plants.makeStore?.(() => this.network.strikes('database')) ?? new MemoryProjectionStore();
    this.database = new DatabaseServer(store, this.time, this.rng, this.network);
    const clock = { nowMs: () => simEpochMs + this.time.nowMs, monotonicMs: () => this.time.nowMs };
    this.frames = { stream: new MemoryFrameStream({ clock }), stored: [] };
    this.#gateway = new Gateway(this);
    this.#actors = [
      new Clients(this, options.commands ?? commandsUsual),
      new Readers(this),
      this.#gateway,
      new Projectors(this, (seq) => this.#gateway.recordsUpTo(seq)),
      new Reactors(this),
      new Notaries(this),
    ];
    this.time.afterStep = () => {
      for (const actor of this.#actors) actor.look?.();
      return this.broken;
    };
  }

  async run(): Promise<void> {
    await this.frames.stream.follow({ fromSeq: 1 }, (frame) => {
      this.frames.stored.push(frame);
      this.#gateway.onFrame(frame);
    });
    for (const process of this.#processes) process.start();
    for (const actor of this.#actors) actor.start?.();
    this.#chaos();
    let outcome = await this.time.run({ untilMs: this.stormMs });
    if (outcome.ended !== 'law') {
      this.#heal();
      const done = (): boolean => this.#actors.every(({ isQuiet }) => isQuiet);
      outcome = await this.time.run({ untilMs: this.stormMs + healMsMax, done });
    }
    if (outcome.ended === 'done') for (const actor of this.#actors) actor.lastLook?.();
    else if (outcome.ended !== 'law') {
      const left = this.#actors.filter(({ isQuiet }) => !isQuiet).map((actor) => actor.unfinished());
      this.breaks(`L7 did not come right: ${left.join('; ')}`);
    }
    for (const process of this.#processes) process.kill();
  }

  breaks = (text: string): void => {
    this.broken ??= text;
  };

  addProcess(name: string, boot: (process: SimProcess) => void): SimProcess {
    const process = new SimProcess(name, this.time, this.rng, boot);
    this.#processes.push(process);
    return process;
  }

  crash(victim: SimProcess): void {
    if (!victim.life.alive) return;
    this.note?.(`${victim.life.name} dies`);
    this.network.count('crash');
    this.#gateway.onKilled(victim);
    victim.kill();
    const downMs = restartMsMin + this.rng.next() * (restartMsMax - restartMsMin);
    this.time.at(downMs, `restart ${victim.name}`, undefined, () => {
      if (!victim.life.alive) victim.start();
    });
  }

  #onStored(commit: StoredCommit): void {
    const broken = this.oracle.onStored(commit);
    const { seq, commitId, version } = commit;
    this.note?.(`stored ${seq} ${commitId} v${version}${this.oracle.accepted[seq] === true ? '' : ' FORKED'}`);
    if (broken !== undefined) this.breaks(broken);
  }

  #chaos(): void {
    const { crash, partition, clockSkewMs, broker } = this.network.faults;
    if (crash + partition + clockSkewMs + broker === 0) return;
    const periodS = chaosPeriodMs / 1_000;
    // Rates hold for each process.
    const share = periodS * this.#processes.length;
    this.time.at(chaosPeriodMs, 'chaos', undefined, () => {
      if (this.calm) return;
      const { rng, network } = this;
      const victim = this.#processes[rng.below(this.#processes.length)] as SimProcess;
      if (rng.chance(crash * share)) this.crash(victim);
      if (rng.chance(partition * share)) {
        victim.partitionedUntilMs = this.time.nowMs + rng.next() * partitionMsMax;
        this.note?.(`${victim.name} is cut off`);
        network.count('partition');
      }
      if (clockSkewMs > 0 && rng.chance(skewChance)) {
        victim.skewMs = (rng.next() - 0.5) * 2 * clockSkewMs;
        network.count('clockSkewMs');
      }
      if (rng.chance(broker * periodS)) {
        this.note?.('the broker dies');
        this.broker.crash(restartMsMin + rng.next() * (restartMsMax - restartMsMin));
        network.count('broker');
      }
      this.#chaos();
    });
  }

  #heal(): void {
    this.note?.('everything heals');
    this.calm = true;
    this.network.faults = noFaults;
    for (const process of this.#processes) {
      process.partitionedUntilMs = 0;
      if (!process.life.alive) process.start();
    }
  }
}
