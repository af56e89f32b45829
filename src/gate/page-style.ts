// The single owner of how the page of a verdict looks: one style sheet, for wide and narrow windows, light and dark, screen and paper.

export const STYLE = `
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#566173;--line:#d8dde5;--pass:#136c3a;--pass-bg:#e5f5eb;--fail:#a8171f;--fail-bg:#fdeaea;--warn:#7a5200;--warn-bg:#fff4d9;--skip:#566173;--skip-bg:#eef0f4}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2029;--ink:#e6eaf0;--soft:#a3aebd;--line:#333d4b;--pass:#6bd69a;--pass-bg:#11301f;--fail:#ff9a9a;--fail-bg:#3c1618;--warn:#f1c75b;--warn-bg:#382b0c;--skip:#a3aebd;--skip-bg:#252d38}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1,h2,h3,p,dl,dd,ol,ul{margin:0;padding:0}
h2{font-size:1.25rem;margin:2.25rem 0 .35rem}
h3{font-size:1rem;margin:1.2rem 0 .4rem;color:var(--soft)}
ol,ul{list-style:none}
code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
.wrap,dd,td,.node,.check{overflow-wrap:anywhere;min-width:0}
.lead{color:var(--soft);max-width:46rem}
header{border-radius:12px;padding:1.4rem 1.5rem;border:2px solid}
header.allow{background:var(--pass-bg);border-color:var(--pass)}
header.deny{background:var(--fail-bg);border-color:var(--fail)}
.decision{display:flex;align-items:center;gap:.8rem;font-size:2.1rem;line-height:1.15;font-weight:750}
header.allow .decision{color:var(--pass)}
header.deny .decision{color:var(--fail)}
header p{margin-top:.6rem;font-size:1.08rem}
.banner{margin-top:1rem;padding:.8rem 1.1rem;border-radius:10px;background:var(--warn-bg);color:var(--warn);border:1px solid;font-weight:600}
dl.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.35rem 1.2rem;margin-top:.7rem}
dl.facts dt{color:var(--soft)}
.chain{display:grid;gap:1rem;margin-top:.9rem}
.lane{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem}
.lane>h3{margin:0 0 .7rem}
.links{display:flex;align-items:stretch}
.node{flex:1 1 0;border:2px solid var(--line);border-radius:10px;padding:.65rem .75rem;background:var(--bg)}
.node b{display:block;margin:.1rem 0}
.node .kind{font-size:.8rem;color:var(--soft)}
.node .more{font-size:.84rem;color:var(--soft)}
.node.pass{border-color:var(--pass)}
.node.fail{border-color:var(--fail);background:var(--fail-bg)}
.node.warn{border-color:var(--warn)}
.node.skip{border-style:dashed}
.edge{flex:0 0 5.4rem;display:flex;flex-direction:column;align-items:center;justify-content:center;text-align:center;font-size:.78rem;color:var(--soft);line-height:1.2;padding:0 .2rem}
.edge svg{width:3.4rem;height:14px;display:block;margin-top:.15rem}
.end{display:flex;align-items:center;gap:.8rem;border-radius:12px;border:2px solid;padding:.8rem 1rem;background:var(--card)}
.end.allow{border-color:var(--pass)}
.end.deny{border-color:var(--fail)}
.mark{flex:0 0 auto;width:1.5em;height:1.5em;border-radius:50%;display:inline-flex;align-items:center;justify-content:center;font-weight:700;font-size:.82em;line-height:1}
.mark.pass{background:var(--pass-bg);color:var(--pass)}
.mark.fail{background:var(--fail-bg);color:var(--fail)}
.mark.warn{background:var(--warn-bg);color:var(--warn)}
.mark.skip{background:var(--skip-bg);color:var(--skip)}
.decision .mark{color:var(--card);font-size:.8em}
header.allow .mark{background:var(--pass)}
header.deny .mark{background:var(--fail)}
.checks{display:grid;gap:.5rem;margin-top:.7rem}
.check{display:flex;gap:.7rem;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.65rem .85rem}
.check.fail{border-color:var(--fail)}
.check.warn{border-color:var(--warn)}
.check>div{min-width:0;flex:1}
.check .title{font-weight:650}
.check dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.1rem .8rem;margin-top:.3rem;font-size:.9rem}
.check dt{color:var(--soft)}
.check dd{white-space:pre-wrap}
.check .id{font-size:.78rem;color:var(--soft);margin-top:.25rem}
details{margin-top:.7rem;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.6rem .85rem}
summary{cursor:pointer;font-weight:600}
details .check{border:0;border-top:1px solid var(--line);border-radius:0;padding:.5rem 0;background:none}
details .checks{gap:0}
table{border-collapse:collapse;width:100%;margin-top:.5rem;table-layout:fixed;font-size:.86rem}
td{padding:.25rem .6rem .25rem 0;border-top:1px solid var(--line);vertical-align:top;text-align:left}
td:first-child{width:34%}
.plain{list-style:disc;padding-left:1.2rem;margin-top:.5rem;max-width:50rem}
.plain li{margin:.3rem 0}
footer{margin-top:2.5rem;color:var(--soft);font-size:.86rem;border-top:1px solid var(--line);padding-top:.8rem}
@media (max-width:46rem){
.links{flex-direction:column}
.edge{flex:none;flex-direction:row;gap:.5rem;padding:.25rem 0;min-height:1.9rem}
.edge svg{transform:rotate(90deg);width:1.6rem;margin:0}
.decision{font-size:1.7rem}
header{padding:1.1rem}
dl.facts,.check dl{grid-template-columns:minmax(0,1fr);gap:.05rem}
dl.facts dd{margin-bottom:.45rem}
td,td:first-child{display:block;width:100%;border-top:0;padding:.05rem 0}
td:first-child{border-top:1px solid var(--line);padding-top:.35rem}
}
@media print{body{background:#fff}details{break-inside:avoid}.check,.node{break-inside:avoid}}
`
