import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import type { log } from '#libs/contracts';
import { EventRegistry } from '#libs/contracts';
import fc from 'fast-check';
import type { StoredAnchor, StoredCommit, VerifyReport } from '#libs/event-log';
import {
  anchorHash,
  ArchiveReader,
  archiveLine,
  commitHash,
  LogVerifier,
  merkleLeaf,
  MerkleTree,
  parseAnchor,
  publicKeyText,
  sealAnchor,
} from '#libs/event-log';
import { sampleLog } from '#libs/testkit';

const registry = new EventRegistry();
const { privateKey } = generateKeyPairSync('ed25519');
const stranger = generateKeyPairSync('ed25519').privateKey;
const good = sampleLog(30);

/** Seals after each of these sequences. */
function seals(commits: readonly StoredCommit[], ends: readonly number[], key = privateKey): StoredAnchor[] {
  let previous: log.Anchor | undefined;
  return ends.map((lastSeq, index) => {
    const tree = new MerkleTree();
    for (const { seq, hash } of commits) {
      if (seq > (previous?.lastSeq ?? 0) && seq <= lastSeq) tree.add(merkleLeaf(seq, hash));
    }
    const sealed = sealAnchor({ stream: 'LINTEL_EVENTS', previous, lastSeq, tree, sealedAtMs: 1, privateKey: key });
    previous = sealed.anchor;
    return { seq: index + 1, json: sealed.json };
  });
}

const anchors = seals(good, [10, 20]);
/** The seal after those. */
const sealedTo30 = seals(good, [10, 20, 30]).slice(2);

function verify(commits: readonly StoredCommit[], sealed = anchors, trustedKeys?: ReadonlySet<string>): VerifyReport {
  const verifier = new LogVerifier({ registry, anchors: sealed, trustedKeys });
  for (const commit of commits) verifier.add(commit);
  return verifier.report();
}

const at = (seq: number, change: (commit: StoredCommit) => StoredCommit): StoredCommit[] =>
  good.map((commit) => (commit.seq === seq ? change(commit) : commit));

/** Changed, and with a hash that fits again: what someone does who knows the chain. */
const rehashed = (commit: StoredCommit): StoredCommit => {
  const changed = { ...commit, payload: Buffer.from(Buffer.from(commit.payload).toString().replace('test', 'fest')) };
  return { ...changed, hash: commitHash(changed) };
};

describe('L10 verify', () => {
  test('finds nothing in a log that is as it was written', () => {
    expect(verify(good)).toMatchObject({ ok: true, commits: 30, aggregates: 3, sealedThroughSeq: 20, anchors: 2 });
  });

  test.each<[string, readonly StoredCommit[], number, string]>([
    ['a changed payload', at(7, (commit) => ({ ...commit, payload: Buffer.from('{}') })), 7, 'hash'],
    ['a changed subject', at(7, (commit) => ({ ...commit, subject: 'lintel.ev.route.replica.r9' })), 7, 'hash'],
    ['a changed id', at(7, (commit) => ({ ...commit, commitId: 'other' })), 7, 'hash'],
    ['a commit that is gone', good.filter(({ seq }) => seq !== 12), 12, 'gap'],
    ['two that changed places', good.with(14, good[15] as StoredCommit).with(15, good[14] as StoredCommit), 15, 'gap'],
    ['the end of the log cut off below a seal', good.slice(0, 15), 16, 'anchor-beyond-log'],
    ['a changed commit whose hash was made to fit: its successor extends nothing', at(25, rehashed), 28, 'chain'],
    ['the same in a sealed range', at(9, rehashed), 1, 'anchor-root'],
    ['the last of its chain, changed with its hash, in a sealed range', at(30, rehashed), 21, 'anchor-root'],
  ])('names the first bad sequence of %s', (_, commits, seq, rule) => {
    const report = verify(commits, seq === 21 ? [...anchors, ...sealedTo30] : anchors);
    expect(report.ok).toBe(false);
    expect(report.problems.map(({ rule }) => rule)).toContain(rule);
    expect(report.problems.find((problem) => problem.rule === rule)?.seq).toBe(seq);
    expect(report.firstBad?.seq).toBe(Math.min(...report.problems.map(({ seq }) => seq)));
  });

  test('a commit that lost a race is counted and no fault', () => {
    const fork = { ...(good[6] as StoredCommit), commitId: 'lost', seq: 8 };
    const forked = [...good.slice(0, 7), { ...fork, hash: commitHash(fork) }];
    expect(verify(forked, [])).toMatchObject({ ok: true, forked: 1 });
  });

  test.each<[string, (json: string[]) => string[], string]>([
    [
      'a seal with another root',
      ([a, b]) => [edit(a, { merkleRoot: 'ab'.repeat(32) }), b as string],
      'anchor-signature',
    ],
    ['a seal that is gone', ([, b]) => [b as string], 'anchor-chain'],
    ['a seal that is no seal', ([a]) => [a as string, '{'], 'anchor-form'],
    [
      'seals by a stranger after ours',
      ([a]) => [a as string, seals(good, [10, 20], stranger)[1]?.json as string],
      'anchor-key',
    ],
  ])('notices %s', (_, change, rule) => {
    const sealed = change(anchors.map(({ json }) => json)).map((json, index) => ({ seq: index + 1, json }));
    expect(verify(good, sealed).problems.map(({ rule }) => rule)).toContain(rule);
  });

  test('a whole chain of seals by a stranger holds by itself and not for who names the trusted key', () => {
    const theirs = seals(good, [10, 20], stranger);
    expect(verify(good, theirs).ok).toBe(true);
    const trusted = new Set([publicKeyText(privateKey)]);
    expect(verify(good, theirs, trusted).problems.map(({ rule }) => rule)).toContain('anchor-key');
    expect(verify(good, anchors, trusted).ok).toBe(true);
  });

  test('any single changed byte of any payload, id or hash is found', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 29 }),
        fc.nat(),
        fc.constantFrom('payload', 'commitId', 'hash'),
        (index, place, field) => {
          const commit = good[index] as StoredCommit;
          const bytes = Buffer.from(commit[field as 'payload']);
          bytes[place % bytes.length] = (bytes[place % bytes.length] as number) ^ 1;
          const changed = {
            ...commit,
            [field]: field === 'payload' ? bytes : bytes.toString('latin1'),
          } as StoredCommit;
          const report = verify(good.with(index, changed));
          expect(report.firstBad?.seq).toBeLessThanOrEqual(index + 1);
          expect(report.problems.some(({ seq, rule }) => seq === index + 1 && rule === 'hash')).toBe(true);
        },
      ),
    );
  });
});

function edit(json: string | undefined, change: object): string {
  return JSON.stringify({ ...(JSON.parse(json as string) as object), ...change });
}

describe('the Merkle tree of RFC 6962', () => {
  const leaf = (n: number): Buffer => merkleLeaf(n, n.toString(16).padStart(64, '0'));
  const rootOf = (...leaves: Buffer[]): string => {
    const tree = new MerkleTree();
    for (const one of leaves) tree.add(one);
    return tree.root();
  };

  test('of nothing is the hash of nothing, of one is the leaf', () => {
    expect(rootOf()).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(rootOf(leaf(1))).toBe(leaf(1).toString('hex'));
  });

  test('changes with any leaf and with their order, at every size', () => {
    for (let size = 2; size <= 9; size++) {
      const leaves = Array.from({ length: size }, (_, n) => leaf(n));
      const root = rootOf(...leaves);
      for (let n = 0; n < size; n++) expect(rootOf(...leaves.with(n, leaf(99)))).not.toBe(root);
      expect(rootOf(...leaves.toReversed())).not.toBe(root);
    }
  });
});

describe('the archive', () => {
  const lines = [
    archiveLine({ kind: 'header', format: 1, stream: 'LINTEL_EVENTS', createdAtMs: 5 }),
    ...anchors.map(({ json }) => archiveLine({ kind: 'anchor', json })),
    ...good.map((commit) => archiveLine({ kind: 'commit', commit })),
    archiveLine({ kind: 'end', commits: 30, lastSeq: 30 }),
  ];
  const read = (given: readonly string[]): StoredCommit[] => {
    const reader = new ArchiveReader();
    const entries = given.map((line) => reader.read(line));
    reader.finish();
    return entries.flatMap((entry) => (entry?.kind === 'commit' ? [entry.commit] : []));
  };

  test('gives every commit back byte for byte, so that it verifies as the log does', () => {
    expect(verify(read(lines))).toMatchObject({ ok: true, commits: 30, sealedThroughSeq: 20 });
    const binary = { ...(good[0] as StoredCommit), payload: new Uint8Array([0xff, 0, 0xfe]) };
    const [back] = read([
      lines[0] as string,
      archiveLine({ kind: 'commit', commit: binary }),
      archiveLine({ kind: 'end', commits: 1, lastSeq: 1 }),
    ]);
    expect([...(back?.payload ?? [])]).toEqual([0xff, 0, 0xfe]);
  });

  test('one that was cut off says so, one with a line missing too', () => {
    expect(() => read(lines.slice(0, -1))).toThrow(expect.objectContaining({ code: 'ARCHIVE_TRUNCATED' }));
    expect(() => read(lines.toSpliced(9, 1))).toThrow(expect.objectContaining({ code: 'ARCHIVE_INVALID' }));
  });

  test('any line is an entry or refused by its code', () => {
    const line = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .tuple(fc.constantFrom(...lines), fc.nat(), fc.string({ maxLength: 3 }))
        .map(([text, place, put]) => text.slice(0, place % text.length) + put + text.slice((place % text.length) + 1)),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), (given) => {
        try {
          read(given);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: expect.stringMatching(/^ARCHIVE_/) });
        }
      }),
      { numRuns: 300 },
    );
  });
});

test('a seal names the one before it, and any text is a seal or refused', () => {
  const [first, second] = anchors.map(({ json }) => parseAnchor(json)) as [log.Anchor, log.Anchor];
  expect(second.prevAnchor).toBe(anchorHash(first));
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        parseAnchor(text);
      } catch (thrown) {
        expect(thrown).toMatchObject({ code: 'ANCHOR_INVALID' });
      }
    }),
  );
});
