export const CORE = Symbol('CORE');
export const BOARD = Symbol('BOARD');
export const ADMIN_KEY = Symbol('ADMIN_KEY');
