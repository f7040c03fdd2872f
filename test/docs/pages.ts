// The code blocks of the pages in docs/, as a reader would copy them. Used by the tests in this folder.
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Block {
  readonly language: string;
  readonly text: string;
  /** The heading that it stands under. */
  readonly section: string;
}

/** All blocks of a page, in its order. */
export function blocksOf(page: string): Block[] {
  const text = readFileSync(join(import.meta.dirname, "../../docs", page), "utf8");
  const blocks: Block[] = [];
  let section = "";
  let open: { language: string; lines: string[]; indent: number } | undefined;
  for (const line of text.split("\n")) {
    const fence = /^(\s*)```(\w*)$/.exec(line);
    if (fence !== null && open === undefined) {
      open = { language: fence[2] ?? "", lines: [], indent: fence[1]?.length ?? 0 };
    } else if (fence !== null && open !== undefined) {
      blocks.push({ language: open.language, text: open.lines.join("\n"), section });
      open = undefined;
    } else if (open !== undefined) open.lines.push(line.slice(open.indent));
    else section = /^#+ (.*)$/.exec(line)?.[1] ?? section;
  }
  return blocks;
}

/** The blocks of a language in a section; throws if the page has none. */
export function blocksIn(page: string, section: string, language: string): string[] {
  const found = blocksOf(page).filter((block) => block.section === section && block.language === language);
  if (found.length === 0) throw new Error(`docs/${page} has no ${language} under "${section}"`);
  return found.map((block) => block.text);
}
