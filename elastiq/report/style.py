"""How the page looks: light and dark, wide and narrow. Every colour of words has a contrast of 4.5 or more on what is
behind it, every colour of shapes 3 or more."""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "card": "#f6f7f9",
    "ink": "#1b1f24",
    "soft": "#555e68",
    "rule": "#d5d9de",
    "link": "#0b57b0",
    "good": "#146c43",
    "bad": "#b3261e",
    "bad-card": "#fdf0ee",
    "gap": "#dfe2e6",
    "c-work": "#1d7f5f",
    "c-idle": "#b97a00",
    "c-boot": "#5a6fd0",
    "c-out": "#8a5a9e",
    "c-bad": "#c0392b",
    "c-go": "#7b8590",
    "c-wait": "#0b57b0",
    "c-line": "#1b1f24",
}
DARK = {
    "paper": "#14171a",
    "card": "#1e2226",
    "ink": "#e8eaed",
    "soft": "#a9b1ba",
    "rule": "#3a4047",
    "link": "#8ab8f5",
    "good": "#6fd3a3",
    "bad": "#ff9b91",
    "bad-card": "#33201e",
    "gap": "#33383e",
    "c-work": "#3fae86",
    "c-idle": "#e0a52e",
    "c-boot": "#8c9df0",
    "c-out": "#c08fd3",
    "c-bad": "#ef6d60",
    "c-go": "#949da6",
    "c-wait": "#6ea8f0",
    "c-line": "#ffffff",
}
LOOKS = ("work", "idle", "boot", "out", "bad", "go", "wait", "line")
"""Of layers, and of what else has their colours."""

_SHEET = """
*{box-sizing:border-box}
body{margin:0 auto;padding:0 1rem 2rem;max-width:68rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.5rem;line-height:1.2;margin:1.5rem 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2rem 0 .5rem}
p{margin:.25rem 0}
.soft,figcaption,caption,footer,dt{color:var(--soft)}
.good{color:var(--good)}.bad{color:var(--bad)}
.state{font-size:1.05rem;font-weight:600}
.say{margin:.5rem 0 0;padding:.6rem .8rem;background:var(--card);border-radius:.5rem;overflow-wrap:anywhere}
.say.alarm{background:var(--bad-card)}
dl.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem;margin:1rem 0 0}
.tiles div{background:var(--card);border-radius:.5rem;padding:.5rem .8rem}
dt{font-size:.85rem}
dd{margin:0;font-size:1.5rem;font-weight:600;line-height:1.2;font-variant-numeric:tabular-nums}
dd small{font-size:.85rem;font-weight:400;color:var(--soft)}
ul.holds{list-style:none;margin:0;padding:0}
.holds li{padding:.6rem .8rem;margin:.5rem 0;background:var(--card);border-radius:.5rem;overflow-wrap:anywhere}
code{font:.85em ui-monospace,SFMono-Regular,Consolas,"DejaVu Sans Mono",monospace;background:var(--card);
border:1px solid var(--rule);border-radius:.25rem;padding:.05rem .3rem;white-space:nowrap}
table{border-collapse:collapse;width:100%;font-size:.93rem}
caption{text-align:left;padding:.25rem 0}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem .4rem 0;border-top:1px solid var(--rule);
overflow-wrap:anywhere}
thead th{border-top:0;font-size:.85rem;color:var(--soft);font-weight:600;overflow-wrap:normal}
th.count,td.count{text-align:right;font-variant-numeric:tabular-nums;padding-right:1rem;white-space:nowrap}
td.when{white-space:nowrap}td.asks{min-width:14rem}
td p{margin:0}
.bar{display:flex;height:1.1rem;border-radius:.3rem;overflow:hidden;margin:.5rem 0;gap:1px}
.figures{display:grid;grid-template-columns:1fr;gap:1rem}
figure{margin:0;padding:.6rem .8rem .5rem;background:var(--card);border-radius:.5rem;min-width:0}
figcaption{font-size:.9rem}
figcaption strong{color:var(--ink)}
svg.chart{display:block;overflow:visible;margin-top:.4rem}
.plot,.words{x:44px;width:calc(100% - 52px)}
.words{overflow:visible;font-size:12px}
.words text{fill:var(--soft)}
text.left{text-anchor:end}text.middle{text-anchor:middle}
.grid{stroke:var(--rule)}.axis{stroke:var(--soft)}
.plot path{fill:var(--c)}
.plot path.gap{fill:var(--gap)}
.plot path.line{fill:none;stroke:var(--c);stroke-width:1.5px;vector-effect:non-scaling-stroke;stroke-linejoin:round}
ul.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:.3rem 0 0;padding:0;font-size:.85rem}
.swatch{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;background:var(--c)}
.swatch.line{height:.2rem;vertical-align:.25rem}
.swatch.gap{background:var(--gap);border:1px solid var(--soft)}
summary{cursor:pointer;padding:.5rem 0;color:var(--link)}
footer{margin-top:2.5rem;padding-top:.75rem;border-top:1px solid var(--rule);font-size:.85rem}
@media(min-width:60rem){.figures{grid-template-columns:1fr 1fr}}
@media(max-width:40rem){
.cards thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.cards,.cards caption,.cards tbody,.cards tr,.cards td,.cards tbody th{display:block}
.cards tr{border-top:1px solid var(--rule);padding:.4rem 0}
.cards td,.cards tbody th{border:0;padding:.05rem 0;text-align:left}
.cards td[data-of]{display:inline-block;margin-right:1rem}
.cards td[data-of]::after{content:" " attr(data-of);color:var(--soft)}
.cards td.none{display:none}
}
"""


def sheet() -> str:
    """Return the style sheet."""
    looks = "".join(f".{look}{{--c:var(--c-{look})}}" for look in LOOKS)
    dark = f"@media(prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    return f":root{{color-scheme:light dark;{_variables(LIGHT)}}}{dark}{looks}{_SHEET}"


def _variables(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())
