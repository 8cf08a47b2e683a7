import type { SubjectKind } from '#features/history/subject-kind.js';

import { settingsOf, settingsToJson, settingsTransition } from './gateway.js';
import { parseSettings, parseSettingsPatch, patchedSettings, replacedSettings } from './gateway-settings.js';

/** A gateway's settings, for what works on every kind of subject. */
export const gatewayKind: SubjectKind = {
  name: 'gateway',
  isNamed: false,
  section: 'settings',
  upcast: (state) => settingsToJson(settingsOf(state)), // settings only ever gained members
  transition: settingsTransition,
  read: (_name, value) => settingsToJson(replacedSettings(parseSettings(value))),
  patch: (_name, before, value) => settingsToJson(patchedSettings(settingsOf(before), parseSettingsPatch(value))),
  write: (state) => state,
};
