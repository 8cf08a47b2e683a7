/** What is injected by name because it is an interface, not a class. */
export const DB = Symbol('Db');
export const LOG = Symbol('Log');
