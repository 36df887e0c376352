/** Told to the thread. */
export type ToEncoder =
  | { readonly kind: 'load'; readonly key: string; readonly folder: string }
  | { readonly kind: 'forget'; readonly key: string }
  | { readonly kind: 'encode'; readonly id: number; readonly key: string; readonly pieces: readonly string[] };

export type FromEncoder =
  | { readonly id: number; readonly encoded: readonly Int32Array[] }
  | { readonly id: number; readonly failed: string };
