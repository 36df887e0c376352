/** Options of a TLS client that believes whoever has this very certificate, whatever its name and its authority. */
export interface Pinned {
  readonly ca: string;
  readonly allowPartialTrustChain: true;
  readonly checkServerIdentity: () => undefined;
}

export const pinnedTo = (certificate: string): Pinned => ({
  ca: certificate,
  allowPartialTrustChain: true,
  checkServerIdentity: () => undefined,
});
