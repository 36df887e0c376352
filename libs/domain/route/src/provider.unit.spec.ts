import { describe, expect, test } from '@jest/globals';
import { isPrivateAddress, isPrivateHost } from './private-address.ts';
import { replica } from './replica.decider.ts';

const registered = (url: string, provider: object): (() => unknown) => {
  const given = { basePath: '/v1', names: { a: 'b' }, use: 'replica', ...provider };
  return () =>
    replica.decide(replica.initial, {
      type: 'RegisterReplica',
      replica: { replicaId: 'p', url, provider: given as never },
    });
};

describe('a provider', () => {
  test('is registered at a public https address', () => {
    expect(registered('https://api.openai.com', {})()).toHaveLength(1);
    expect(registered('http://127.0.0.1:9', { allowHttp: true, allowPrivate: true })()).toHaveLength(1);
  });

  test.each([
    ['http://api.openai.com', {}, /not behind https/],
    ['https://10.1.2.3', {}, /private address/],
    ['https://localhost:8443', {}, /private address/],
    ['https://metadata.google.internal', {}, /private address/],
    ['https://[fd00::1]', {}, /private address/],
    ['https://api.openai.com', { basePath: '/v1/../admin' }, /has the path/],
    ['https://api.openai.com', { basePath: '/v1?x' }, /has the path/],
    ['https://api.openai.com', { use: 'sometimes' }, /is used as/],
    ['https://api.openai.com', { names: {} }, /has no models/],
    ['https://api.openai.com', { names: { a: 'x\r\ny' } }, /without a name/],
  ])('%s %j is refused', (url, provider, problem) => {
    expect(registered(url, provider)).toThrow(problem);
  });
});

test.each([
  ['127.0.0.1', true],
  ['169.254.169.254', true],
  ['100.64.0.1', true],
  ['255.255.255.255', true],
  ['8.8.8.8', false],
  ['::1', true],
  ['::ffff:10.0.0.1', true],
  ['fe80::1', true],
  ['2606:4700::1111', false],
  ['not an address', true],
])('%s is private: %s', (address, is) => {
  expect(isPrivateAddress(address)).toBe(is);
});

test('a host without a dot, or of a network of one’s own, is private', () => {
  expect(['engine', 'a.local', 'x.internal.', '[::1]', '0x7f000001'].map(isPrivateHost)).toEqual(Array(5).fill(true));
  expect(['api.openai.com', '[2606:4700::1111]', '1.1.1.1'].map(isPrivateHost)).toEqual([false, false, false]);
});
