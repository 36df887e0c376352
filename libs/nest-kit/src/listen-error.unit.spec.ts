import { expect, test } from '@jest/globals';
import { listenError } from './listen-error.ts';

const failed = (code: string): Error => Object.assign(new Error(`listen ${code}`), { code });
const at = { host: '192.0.2.1', port: 80 };

test.each([
  ['EADDRINUSE', 'PORT_TAKEN', 'LINTEL_PORT'],
  ['EACCES', 'PORT_DENIED', 'above 1023'],
  ['EADDRNOTAVAIL', 'HOST_INVALID', 'LINTEL_HOST'],
  ['ENOTFOUND', 'HOST_INVALID', 'LINTEL_HOST'],
  ['EAI_AGAIN', 'HOST_INVALID', 'LINTEL_HOST'],
])('%s is told as %s, with what to do', (code, told, advice) => {
  expect(listenError(failed(code), at)).toMatchObject({ code: told, advice: expect.stringContaining(advice) });
});

test('names the flags of the program that was started, and leaves alone what is no failed listen', () => {
  const flags = { ...at, portBy: '--port', hostBy: '--host' };
  expect(listenError(failed('EADDRINUSE'), flags)).toMatchObject({ advice: expect.stringContaining('--port 0') });
  expect(listenError(failed('EADDRNOTAVAIL'), flags)).toMatchObject({ advice: expect.stringContaining('--host') });
  const other = new Error('no database');
  expect(listenError(other, at)).toBe(other);
});
