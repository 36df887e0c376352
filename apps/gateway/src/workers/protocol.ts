/** From the supervisor to a worker. */
export type ToWorker =
  /** Comes with the socket of a predecessor where there is one. */
  | { readonly kind: 'start'; readonly applies: boolean; readonly whenReady: boolean; readonly handed: boolean }
  /** Give your socket. */
  | { readonly kind: 'socket' }
  /** Your successor serves your socket. */
  | { readonly kind: 'leave' }
  | { readonly kind: 'metrics'; readonly id: number }
  /** The answer to a `scrape`. */
  | { readonly kind: 'scraped'; readonly id: number; readonly text: string };

/** From a worker to the supervisor. */
export type FromWorker =
  | { readonly kind: 'serving'; readonly url: string }
  | { readonly kind: 'socket' }
  | { readonly kind: 'metrics'; readonly id: number; readonly text: string }
  /** Somebody asks for the metrics of all. */
  | { readonly kind: 'scrape'; readonly id: number };
