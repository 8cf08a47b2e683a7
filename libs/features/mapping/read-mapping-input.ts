/** What other features need to read a mapping out of a request: this feature's face, beside its commands. */
export { AmbassadorMappingInput, checkName, parseAmbassadorMapping } from './mapping-input.js';
