export { MessagesOffers } from './offers.ts';
export type { MessagesOwner } from './translated.ts';
export { sendMessages } from './translated.ts';
