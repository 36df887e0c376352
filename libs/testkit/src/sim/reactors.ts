import type { log } from '#libs/contracts';
import type { DecodedCommit } from '#libs/event-log';
import { Reaction, SubjectAcceptance } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { Delivery } from './consumer.ts';
import { SimConsumer } from './consumer.ts';
import type { SimProcess } from './process.ts';
import { SimulatedEventLog } from './simulated-log.ts';
import type { Actor, Stage } from './stage.ts';
import { commandOf, simDecoder } from './tally.ts';

const reactors = 2;
const consumerName = 'sim-reactor';
const pullHoldMs = 1_500;
const flakyChance = 0.08;
/** One command of so many can never be reacted to. */
const poisonEvery = 17;

const isPoison = (commandId: string): boolean => Number(commandId.slice(3)) % poisonEvery === 0;

/** Rivals at one durable consumer: each accepted commit has its effect, or lies with the dead letters. */
export class Reactors implements Actor {
  readonly #consumer: SimConsumer;
  readonly #effects = new Map<string, number>();
  readonly #letters = new Map<number, log.DeadLetter>();

  constructor(private readonly stage: Stage) {
    this.#consumer = new SimConsumer(stage.time, stage.broker, stage.plants.consumerForgets !== true);
    for (let n = 1; n <= reactors; n++) stage.addProcess(`reactor${n}`, (process) => void this.#boot(process));
  }

  get isQuiet(): boolean {
    return this.#consumer.isDone;
  }

  unfinished(): string {
    return this.#consumer.isDone ? 'reactors done' : 'reactors have deliveries open';
  }

  lastLook(): void {
    const { broker, oracle, breaks } = this.stage;
    for (const commit of broker.commits) {
      const { seq, commitId } = commit;
      const letter = this.#letters.get(seq);
      if (oracle.accepted[seq] !== true) {
        if (letter !== undefined) breaks(`L9 ${commitId} at ${seq} is a dead letter, and no reader accepts it`);
        continue;
      }
      const { commandId } = commandOf(simDecoder.decode(commit));
      if (isPoison(commandId)) {
        if (letter?.errorCode !== 'SIM_POISON') breaks(`L9 ${commitId} can never be handled and was not parked`);
      } else if (letter === undefined && !this.#effects.has(commitId)) {
        breaks(`L9 ${commitId} at ${seq} has neither an effect nor a dead letter`);
      }
    }
  }

  async #boot(process: SimProcess): Promise<void> {
    const { broker, network, plants } = this.stage;
    const { environment } = process;
    const reaction = new Reaction({
      consumer: consumerName,
      acceptance: new SubjectAcceptance(new SimulatedEventLog(process, broker, network)),
      decoder: simDecoder,
      environment,
      handler: (commit) => this.#handle(process, commit),
    });
    const tell = (label: string, work: () => void): Promise<unknown> =>
      network.request<true>(process, broker, label, (reply) => {
        work();
        reply(true);
      });
    const acknowledge = (seq: number): Promise<unknown> => tell('ack', () => this.#consumer.acknowledge(seq));
    for (;;) {
      const delivery = await network.request<Delivery>(
        process,
        broker,
        'pull',
        (reply) => this.#consumer.pull(pullHoldMs, reply),
        pullHoldMs * 2,
      );
      if (delivery === undefined) continue;
      const { commit, deliveries } = delivery;
      if (plants.acknowledgesBeforeEffect === true) await acknowledge(commit.seq);
      const outcome = await reaction.deliver(commit, deliveries);
      if (outcome.action === 'again') {
        void tell('again later', () => this.#consumer.comeAgain(commit.seq, outcome.delayMs));
        continue;
      }
      if (outcome.action === 'park') {
        const { letter } = outcome;
        const parked = await tell('park', () => this.#letters.set(letter.seq, letter));
        // Not acknowledged: the delivery comes again, and is parked then.
        if (parked === undefined) continue;
        this.stage.note?.(`${letter.errorCode}: ${commit.commitId} is a dead letter`);
      }
      void acknowledge(commit.seq);
    }
  }

  async #handle(process: SimProcess, commit: DecodedCommit): Promise<void> {
    const { environment } = process;
    const { seq, commitId } = commit.stored;
    if (isPoison(commandOf(commit).commandId)) throw new CodedError('SIM_POISON', 'can never be handled');
    if (environment.rng.next() < flakyChance) throw new CodedError('SIM_FLAKY', 'not this time');
    // Effects take time, in which the process may die.
    await environment.timers.sleep(20);
    if (this.#effects.has(commitId)) return;
    this.#effects.set(commitId, seq);
    this.stage.oracle.onEffect(process.life.name, commitId, seq, this.stage);
  }
}
