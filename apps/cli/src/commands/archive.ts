import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { once } from 'node:events';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { Cli } from '../cli.ts';
import type { ExitCode } from '../exit-codes.ts';
import { exitCodes } from '../exit-codes.ts';
import { failureOf } from '../http/client.ts';
import { textLines } from '../http/ndjson.ts';
import { plural } from '../render/text.ts';
import { repeated } from './checks.ts';
import { importCommand } from './archive-import.ts';
import type { AddCommands, Flags } from './command.ts';
import { text } from './command.ts';

interface Sink {
  write(text: string): Promise<void>;
  /** All is there: the file takes its name. */
  finish(): Promise<void>;
  discard(): Promise<void>;
}

/** A file that has its name only when it is whole, readable by its owner alone. @throws FILE_EXISTS, FILE_UNWRITABLE */
async function fileSink(file: string, force: boolean): Promise<Sink> {
  const there = await stat(file).then(
    () => true,
    (thrown: unknown) => errorCode(thrown) !== 'ENOENT',
  );
  if (there && !force)
    throw new CodedError('FILE_EXISTS', `${file} is there already`, { advice: 'Choose another name, or --force.' });
  const part = `${file}.part`;
  const unwritable = (cause: unknown): CodedError =>
    new CodedError('FILE_UNWRITABLE', `cannot write ${file}: ${errorText(cause)}`, { cause });
  const stream = createWriteStream(part, { mode: 0o600, flags: 'w' });
  let failed: unknown;
  stream.on('error', (error) => (failed = error));
  await once(stream, 'open').catch((cause: unknown) => {
    throw unwritable(cause);
  });
  return {
    async write(line) {
      if (failed !== undefined) throw unwritable(failed);
      if (!stream.write(line)) {
        await once(stream, 'drain').catch((cause: unknown) => {
          throw unwritable(cause);
        });
      }
    },
    async finish() {
      await new Promise<void>((resolve, reject) => {
        stream.once('error', reject);
        stream.end(resolve);
      }).catch((cause: unknown) => {
        throw unwritable(cause);
      });
      await rename(part, file);
    },
    async discard() {
      stream.destroy();
      await rm(part, { force: true });
    },
  };
}

const stdoutSink = (cli: Cli): Sink => ({
  write: (line) => cli.io.out(line),
  finish: async () => {},
  discard: async () => {},
});

export async function exportArchive(cli: Cli, _: readonly string[], flags: Flags): Promise<ExitCode> {
  const { ArchiveReader } = await import('#libs/event-log');
  const api = await cli.api();
  const { body } = await api.open('/api/v1/archive', { patience: 'long' });
  const file = text(flags['output']);
  const sink = file === undefined ? stdoutSink(cli) : await fileSink(file, flags['force'] === true);
  const reader = new ArchiveReader();
  let commits = 0;
  let anchors = 0;
  try {
    for await (const line of textLines(body)) {
      const failed = line.startsWith('{"kind":"failed"') ? failureOf(JSON.parse(line)) : undefined;
      if (failed !== undefined) throw failed;
      const entry = reader.read(line);
      if (entry?.kind === 'commit') commits++;
      if (entry?.kind === 'anchor') anchors++;
      await sink.write(`${line}\n`);
      cli.progress(`${plural(commits, 'commit')} exported`);
    }
    reader.finish();
    await sink.finish();
  } catch (thrown) {
    body.destroy();
    await sink.discard();
    throw thrown;
  }
  cli.note(
    `${plural(commits, 'commit')} and ${plural(anchors, 'anchor')} exported${file === undefined ? '' : ` to ${file}`}. Check it offline: lintel verify --archive ${file ?? 'FILE'}`,
  );
  return exitCodes.ok;
}

export const addArchive: AddCommands = (program, act) => {
  const archive = program.command('archive').description('the log and its seals as a file');
  act(
    archive
      .command('export')
      .description('to standard output, or to a file')
      .option('-o, --output <file>', 'a file; it has its name only when it is whole')
      .option('--force', 'in place of a file that is there'),
    exportArchive,
  );
  act(
    archive
      .command('import')
      .description('restore into an empty log, as the operator of its broker: LINTEL_NATS_URL, else the one of --home')
      .argument('<file>', 'an exported archive')
      .option('--trusted-key <key>', 'only this key may have signed (SPKI in base64); repeatable', repeated),
    importCommand,
  );
};
