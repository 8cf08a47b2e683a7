import ts from 'typescript';

import { isGenerated, isTest, isTypeScript, listFiles, type SourceFile } from './source-tree.js';

/** A type of event that the sources write, with the shape of its state that they write today. */
export interface EventType {
  readonly type: string;
  readonly schemaVersion: number;
  readonly path: string;
}

/** Every type of event of the product, found where events are made. */
export function eventTypes(): EventType[] {
  return listFiles(['apps', 'libs'])
    .filter((file) => isTypeScript(file) && !isTest(file) && !isGenerated(file) && !file.path.startsWith('libs/platform/'))
    .flatMap(eventTypesOf);
}

/**
 * The types that one file writes. A file that makes an event (an object with type, schemaVersion, subject and state) names in it nothing in PascalCase
 * of two words or more but events, and the actions of commands; so whichever way it comes to the type, the name is found.
 */
export function eventTypesOf(file: SourceFile): EventType[] {
  const source = ts.createSourceFile(file.path, file.text, ts.ScriptTarget.Latest, true);
  const names = new Set<string>();
  let makesEvents = false;
  let schemaVersion = 0;
  const visit = (node: ts.Node): void => {
    if (ts.isObjectLiteralExpression(node) && isEvent(node)) makesEvents = true;
    if (ts.isStringLiteral(node) && /^(?:[A-Z][a-z0-9]+){2,}$/.test(node.text) && !isAction(node)) names.add(node.text);
    schemaVersion = Math.max(schemaVersion, saidVersion(node));
    ts.forEachChild(node, visit);
  };
  visit(source);
  return makesEvents ? [...names].map((type) => ({ type, schemaVersion, path: file.path })) : [];
}

function isEvent(object: ts.ObjectLiteralExpression): boolean {
  const members = new Set(object.properties.map((property) => property.name?.getText()));
  return ['type', 'schemaVersion', 'subject', 'state'].every((name) => members.has(name));
}

/** `action: 'CreateMapping'`: what was asked for, not what happened. */
function isAction(literal: ts.StringLiteral): boolean {
  return ts.isPropertyAssignment(literal.parent) && literal.parent.name.getText() === 'action';
}

/** `schemaVersion: 1` or `const schemaVersion = 1`. */
function saidVersion(node: ts.Node): number {
  if (!ts.isPropertyAssignment(node) && !ts.isVariableDeclaration(node)) return 0;
  if (node.name.getText() !== 'schemaVersion' || node.initializer === undefined || !ts.isNumericLiteral(node.initializer)) return 0;
  return Number(node.initializer.text);
}
