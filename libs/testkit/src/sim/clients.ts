import type { EventLog, Handled, StoredCommit } from '#libs/event-log';
import { baseOfCommitId, CommandHandler, LogFold } from '#libs/event-log';
import { errorText } from '#libs/kernel';
import type { SimProcess } from './process.ts';
import { SimulatedEventLog } from './simulated-log.ts';
import type { Actor, Stage } from './stage.ts';
import { simDecoder, simRegistry, tally } from './tally.ts';

interface Command {
  readonly id: string;
  readonly aggregateId: string;
  done: Handled | undefined;
}

const writers = 3;
const aggregates = 5;
const clientTimeoutMs = 3_000;

/** Clients that give each command to any writer, again and again, until one says that it is done. */
export class Clients implements Actor {
  readonly #writers: SimProcess[] = [];
  readonly #handlers = new Map<SimProcess, CommandHandler>();
  readonly #commands: Command[] = [];
  #open = 0;
  #given = 0;

  constructor(
    private readonly stage: Stage,
    private readonly count: number,
  ) {
    for (let n = 1; n <= writers; n++) {
      this.#writers.push(stage.addProcess(`writer${n}`, (process) => this.#boot(process, n === 1)));
    }
  }

  get isQuiet(): boolean {
    return this.#open === 0;
  }

  unfinished(): string {
    return `${this.#open} commands open`;
  }

  start(): void {
    const { rng, time, stormMs } = this.stage;
    for (let n = 1; n <= this.count; n++) {
      const command: Command = { id: `cmd${n}`, aggregateId: `r${rng.below(aggregates)}`, done: undefined };
      this.#commands.push(command);
      this.#open++;
      time.at(rng.next() * stormMs * 0.9, `client gives ${command.id}`, undefined, () => this.#submit(command));
    }
  }

  lastLook(): void {
    const { oracle, broker } = this.stage;
    for (const { id, done } of this.#commands) {
      const times = oracle.effects.get(id) ?? 0;
      if (times !== 1) this.stage.breaks(`L1 command ${id} took effect ${times} times`);
      if (done !== undefined && broker.commits[done.seq - 1] === undefined) {
        this.stage.breaks(`L2 ${id} was reported done at ${done.seq}, which is not in the log`);
      }
    }
  }

  #boot(process: SimProcess, withFold: boolean): void {
    const { broker, network, plants } = this.stage;
    const client = new SimulatedEventLog(process, broker, network, plants.settle);
    const watched = this.#watch(client);
    const log = plants.wrapLog?.(watched, (commitId) => this.#effect(process, commitId)) ?? watched;
    const { environment } = process;
    let heads: LogFold<null> | undefined;
    if (withFold) {
      heads = new LogFold({
        log,
        registry: simRegistry,
        decoder: simDecoder,
        environment,
        initial: null,
        evolve: (state) => state,
      });
      // Until it has started, and where it fails to, the handler reads the subject instead.
      heads.start().catch(() => {});
    }
    this.#handlers.set(
      process,
      new CommandHandler({ log, registry: simRegistry, environment, actor: process.life.name, heads }),
    );
  }

  /** Holds each acknowledgement to what is stored at that moment. */
  #watch(log: SimulatedEventLog): EventLog {
    const { stage } = this;
    const append = log.append.bind(log);
    log.append = async (commit, expected) => {
      const appended = await append(commit, expected);
      const stored = stage.broker.commits[appended.seq - 1];
      if (stored === undefined || baseOfCommitId(stored.commitId) !== baseOfCommitId(commit.commitId)) {
        stage.breaks(`L2 ${commit.commitId} was acknowledged at ${appended.seq}, where it is not`);
      }
      return appended;
    };
    return log;
  }

  #submit(command: Command): void {
    if (command.done !== undefined) return;
    const { time, rng } = this.stage;
    const { id, aggregateId } = command;
    const writer = this.#writers[rng.below(writers)] as SimProcess;
    const late = time.at(clientTimeoutMs, `client waits no longer for ${id}`, undefined, () => this.#submit(command));
    time.at(1, `command ${id}`, writer.life, () => {
      const handler = this.#handlers.get(writer) as CommandHandler;
      const commandId = this.stage.plants.clientsRenameRetries === true ? `${id}/${++this.#given}` : id;
      handler.handle(tally, aggregateId, { commandId: id, id: aggregateId }, { commandId }).then(
        (handled) => {
          late.cancelled = true;
          this.#onHandled(command, handled);
        },
        (thrown: unknown) => {
          late.cancelled = true;
          this.stage.note?.(`${writer.life.name} could not do ${id}: ${errorText(thrown)}`);
          time.at(100 + rng.next() * 400, `client gives ${id} again`, undefined, () => this.#submit(command));
        },
      );
    });
  }

  #onHandled(command: Command, handled: Handled): void {
    const { stage } = this;
    stage.note?.(`${command.id} done at ${handled.seq}`);
    const stored = stage.broker.commits[handled.seq - 1];
    if (stored === undefined) stage.breaks(`L2 ${command.id} was reported done at ${handled.seq}, where nothing is`);
    else if (stage.oracle.accepted[handled.seq] !== true) {
      stage.breaks(`L7 ${command.id} was reported done at ${handled.seq}, which no reader accepts`);
    } else if (baseOfCommitId(stored.commitId) !== baseOfCommitId(handled.commitId)) {
      stage.breaks(`L7 ${command.id} was reported done at ${handled.seq}, which is another commit`);
    }
    if (command.done !== undefined) return;
    command.done = handled;
    this.#open--;
  }

  #effect(process: SimProcess, commitId: string): void {
    const stored: StoredCommit | undefined = this.stage.broker.commits.findLast(
      (commit) => commit.commitId === commitId,
    );
    this.stage.oracle.onEffect(process.life.name, commitId, stored?.seq ?? 0, this.stage);
  }
}
