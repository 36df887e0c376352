import { parentPort } from 'node:worker_threads';
import { CodedError, errorText } from '#libs/kernel';
import { readModelFiles, TextEncoder } from '#libs/tokenizer';
import type { FromEncoder, ToEncoder } from './encoding-messages.ts';

/** Encodes long texts beside the event loop that serves requests. */
const parent = parentPort;
if (parent === null)
  throw new CodedError('NOT_A_THREAD', 'encoding-thread runs as a worker thread of the gateway only');
const say = (message: FromEncoder): void => parent.postMessage(message);
const encoders = new Map<string, Promise<TextEncoder>>();

async function load(folder: string): Promise<TextEncoder> {
  const { tokenizer, config } = await readModelFiles(folder);
  return new TextEncoder(tokenizer, config);
}

parent.on('message', (message: ToEncoder) => {
  if (message.kind === 'load') {
    const loading = load(message.folder);
    loading.catch(() => {}); // said to whoever asks for it
    encoders.set(message.key, loading);
    return;
  }
  if (message.kind === 'forget') {
    encoders.delete(message.key);
    return;
  }
  const { id, key, pieces } = message;
  const encoder = encoders.get(key) ?? Promise.reject(new CodedError('TOKENIZER_UNKNOWN', `no tokenizer ${key}`));
  encoder.then(
    (ready) => say({ id, encoded: pieces.map((piece) => ready.encode(piece)) }),
    (error: unknown) => say({ id, failed: errorText(error) }),
  );
});
