import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { systemEnvironment } from '#libs/kernel';
import { eventually } from '#libs/testkit';
import { keepThread, startThread, type ThreadJob } from './threads.ts';

/** Serves HTTP on its port; `/die` ends the thread by an error that nobody caught. */
const program = `
import { createServer } from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';
const { port, refuse } = workerData.options;
if (refuse) {
  parentPort.postMessage({ kind: 'failed', code: 'REFUSED', message: 'will not', advice: 'do otherwise' });
} else {
  const server = createServer((request, response) => {
    if (request.url === '/die') setImmediate(() => { throw new Error('as it was told'); });
    response.end('alive');
  });
  server.listen(port, '127.0.0.1', () => parentPort.postMessage({ kind: 'ready', result: server.address().port }));
  parentPort.on('message', () => process.exit(0));
  console.log('said by the thread');
}
`;

/** A thread takes a second to start where the machine is busy. */
const waitMs = 30_000;

let folder: string;
const kept: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thread of kept.splice(0)) await thread.stop();
});
let main: URL;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lintel-threads-'));
  const file = join(folder, 'program.mjs');
  await writeFile(file, program);
  main = pathToFileURL(file);
});
afterAll(async () => await rm(folder, { recursive: true, force: true }));

const job = (options: object): ThreadJob => ({ app: 'engine-sim', options, logFile: 'x.log', main });
const ask = async (port: number, path = '/'): Promise<string> =>
  await (await fetch(`http://127.0.0.1:${port}${path}`)).text();

test('a thread that dies is named and started again at the same port; what it prints goes to its log', async () => {
  const reports: string[] = [];
  let output = '';
  const thread = await keepThread<number>(
    job({ port: 0 }),
    (port) => job({ port }),
    (line) => void reports.push(line),
    (text) => void (output += text),
    systemEnvironment,
  );
  kept.push(thread);
  const port = thread.result;
  for (let deaths = 1; deaths <= 2; deaths++) {
    await ask(port, '/die').catch(() => {});
    await eventually(async () => {
      expect(reports).toHaveLength(deaths);
      expect(await ask(port)).toBe('alive');
    }, waitMs);
  }
  expect(reports[0]).toMatch(/^engine-sim died and is started again \(.*as it was told\)$/);
  await eventually(() => expect(output).toContain('said by the thread'));
  await thread.stop();
  await expect(ask(port)).rejects.toThrow();
  expect(reports).toHaveLength(2);
});

test('one that dies again and again stays down, and is named', async () => {
  const reports: string[] = [];
  const thread = await keepThread<number>(
    job({ port: 0 }),
    () => job({ refuse: true }),
    (line) => void reports.push(line),
    () => {},
    systemEnvironment,
  );
  kept.push(thread);
  await ask(thread.result, '/die').catch(() => {});
  await eventually(
    () => expect(reports.at(-1)).toMatch(/more than 5 times in a minute and stays down; read x\.log/),
    waitMs,
  );
});

test('what keeps an app from starting comes across with its code and advice', async () => {
  await expect(startThread(job({ refuse: true }), () => {}, systemEnvironment)).rejects.toMatchObject({
    code: 'REFUSED',
    message: 'will not',
    advice: 'do otherwise',
  });
});
