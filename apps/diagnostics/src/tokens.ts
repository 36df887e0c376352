/** Where Nest finds the app's one core, its board and its key. */
export const CORE = Symbol('core');
export const BOARD = Symbol('board');
export const API_DOCUMENT = Symbol('api document');
export const ADMIN_KEY = Symbol('admin key');
