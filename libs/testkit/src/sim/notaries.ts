import { createPrivateKey } from 'node:crypto';
import { streams } from '#libs/contracts';
import { LogVerifier, MemoryAnchorStream, MerkleTree, merkleLeaf, parseAnchor, sealAnchor } from '#libs/event-log';
import type { StoredAnchor } from '#libs/event-log';
import { errorCode, errorText } from '#libs/kernel';
import type { SimProcess } from './process.ts';
import { SimulatedEventLog } from './simulated-log.ts';
import type { Actor, Stage } from './stage.ts';

const notaries = 2;
const lookPeriodMs = 1_200;
const sealCommitsMin = 30;

/** Always the same key, so that the same seed gives the same seals. */
const privateKey = createPrivateKey({
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 7)]),
  format: 'der',
  type: 'pkcs8',
});

/** Rivals that seal ranges of the total order; the seals must chain and fit, whoever made them. */
export class Notaries implements Actor {
  readonly #anchors = new MemoryAnchorStream();
  #sealed: StoredAnchor[] = [];
  #sealedSeq = 0;

  constructor(private readonly stage: Stage) {
    for (let n = 1; n <= notaries; n++) stage.addProcess(`notary${n}`, (process) => void this.#boot(process));
  }

  get isQuiet(): boolean {
    return this.#sealedSeq >= this.stage.broker.commits.length;
  }

  unfinished(): string {
    return `sealed to ${this.#sealedSeq} of ${this.stage.broker.commits.length}`;
  }

  lastLook(): void {
    const { broker, oracle } = this.stage;
    const verifier = new LogVerifier({ anchors: this.#sealed });
    for (const commit of broker.commits) verifier.add(commit);
    const report = verifier.report();
    if (!report.ok || report.sealedThroughSeq !== broker.commits.length) {
      this.stage.breaks(`L10 sealed to ${report.sealedThroughSeq}: ${report.firstBad?.rule} ${report.firstBad?.text}`);
    }
    if (report.forked !== oracle.acceptor.counts.forked) {
      this.stage.breaks(`L10 verify counts ${report.forked} forks, the log has ${oracle.acceptor.counts.forked}`);
    }
  }

  async #boot(process: SimProcess): Promise<void> {
    const { timers } = process.environment;
    for (;;) {
      await timers.sleep(lookPeriodMs);
      try {
        await this.#sealWhatIsNew(process);
      } catch (thrown) {
        this.stage.note?.(`${process.life.name} could not seal: ${errorText(thrown)}`);
      }
    }
  }

  async #sealWhatIsNew(process: SimProcess): Promise<void> {
    const { broker, network, calm } = this.stage;
    const anchors = await network.request<StoredAnchor[]>(
      process,
      broker,
      'anchors',
      (reply) => void this.#anchors.readAll().then(reply),
    );
    if (anchors === undefined) return;
    const last = anchors.at(-1);
    const previous = last === undefined ? undefined : parseAnchor(last.json);
    const log = new SimulatedEventLog(process, broker, network);
    const lastSeq = await log.lastSeq();
    const fromSeq = (previous?.lastSeq ?? 0) + 1;
    if (lastSeq - fromSeq + 1 < (calm ? 1 : sealCommitsMin)) return;
    const tree = new MerkleTree();
    for await (const { seq, hash } of log.read({ fromSeq, toSeq: lastSeq })) tree.add(merkleLeaf(seq, hash));
    const sealedAtMs = process.environment.clock.nowMs();
    const { json } = sealAnchor({ stream: streams.events, previous, lastSeq, tree, sealedAtMs, privateKey });
    const unguarded = this.stage.plants.sealsWhereverItStands === true;
    await network.request<string>(process, broker, `seal to ${lastSeq}`, (reply) => {
      this.#anchors.append(json, unguarded ? this.#sealed.length : anchors.length).then(
        ({ seq }) => {
          this.#sealed = [...this.#sealed, { seq, json }];
          this.#sealedSeq = lastSeq;
          reply('sealed');
        },
        (thrown: unknown) => reply(errorCode(thrown)),
      );
    });
  }
}
