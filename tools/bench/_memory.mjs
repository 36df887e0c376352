// What a connection costs a proxy in memory while nothing, or a stream, goes over it.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { sleep } from './_common.mjs';

const idleCount = 12_000;
const streamCount = 1_000;
const settleMs = 3_000;

const residentBytes = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;

const body = JSON.stringify({ model: 'tiny-model', messages: [{ role: 'user', content: 'Hello' }], stream: true });
const ask = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

/** Opens so many connections, sends each this text, and gives what they add to the proxy's resident memory. */
async function added({ port, pid }, count, text) {
  const before = residentBytes(pid);
  const sockets = [];
  for (let index = 0; index < count; index++) {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.resume();
    if (text !== '') socket.write(text);
    sockets.push(socket);
    if (index % 100 === 99) await sleep(20);
  }
  await sleep(settleMs);
  const bytes = (residentBytes(pid) - before) / count;
  for (const socket of sockets) socket.destroy();
  await sleep(settleMs);
  return bytes;
}

/** Each of a process of its own: resident memory that was freed does not go back, and what came first would hide what comes next. */
export const idleBytesOf = (proxy) => added(proxy, idleCount, '');
export const streamBytesOf = (proxy) => added(proxy, streamCount, ask);
