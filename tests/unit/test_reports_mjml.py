"""MJML: what the converter would swallow is refused; HTML as text."""

import pytest

from signalroom.errors import ConfigError
from signalroom.reports import mjml
from signalroom.reports.plain import html_to_text


def page(body, head=""):
    column = f"<mj-section><mj-column>{body}</mj-column></mj-section>"
    return f"<mjml><mj-head>{head}</mj-head><mj-body>{column}</mj-body></mjml>"


def test_sound_mjml_becomes_html():
    html = mjml.to_html(
        page(
            '<mj-text font-size="15px">A & B &amp; C<br/></mj-text><mj-image src="cid:x.png" alt="x" />'
            '<mj-table><tr><td class="num">1</td></tr></mj-table>',
            "<mj-title>T</mj-title><mj-style inline='inline'>.num { text-align: right; }</mj-style>"
            "<mj-attributes><mj-all color='red' /><mj-class name='big' font-size='20px' /></mj-attributes>",
        ),
        "x",
    )
    assert "A &amp; B &amp; C" in html
    assert "text-align:right" in html.replace(" ", "")
    assert "<!--[if mso" in html


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (page("").replace("mj-column", "mj-colum"), "unknown tag <mj-colum>. Did you mean 'mj-column'"),
        (page('\n<mj-text font-sise="1px">x</mj-text>'), "line 2 gives <mj-text> the unknown attribute 'font-sise'"),
        (page('<mj-image src="x" />'), "image without alt"),
        (page("<mj-section></mj-section>"), "puts <mj-section> into <mj-column>"),
        (page("<mj-text><mj-button>x</mj-button></mj-text>"), "puts <mj-button> into <mj-text>, which holds text"),
        ("<mjml><mj-body><mj-text>x</mj-text></mj-body></mjml>", "puts <mj-text> into <mj-body>"),
        ("<mjml><mj-body><p>x</p></mj-body></mjml>", "puts <p> into <mj-body>"),
        (page('<mj-include path="x" />'), "mj-include"),
        (page("<mj-text>x"), "closes <mj-column>, which is not open; <mj-text> is still open"),
        ("<mjml></mjml>", "no <mj-body>"),
        ("<mjml><mj-body>", "never closes <mj-body>"),
        ("<p>hi</p>", "outside <mjml>"),
        (page("<mj-text><b>x</mj-text>"), "not well formed"),
    ],
)
def test_what_would_vanish_is_refused(source, said):
    with pytest.raises(ConfigError) as caught:
        mjml.to_html(source, "x.email.mjml")
    assert said in str(caught.value)
    assert "x.email.mjml" in str(caught.value)


def test_a_template_is_checked_at_its_own_lines():
    template = "{% if a %}\n{# <mj-nope> #}\n<mj-text color=\"{{ 'a' if b else 'c' }}\">{{\n x }}</mj-text>\n<mj-txt>"
    with pytest.raises(ConfigError, match=r"line 5 has the unknown tag <mj-txt>"):
        mjml.lint_template(template, "x.email.mjml")


def test_html_becomes_readable_text():
    text = html_to_text(
        "<html><head><title>no</title><style>no</style></head><body><div style='display:none'>no</div>"
        "<!--[if mso]><p>no</p><![endif]-->"
        "<table role='presentation'><tr><td><h1>Title</h1></td><td>Beside</td></tr></table>"
        "<table><tr><th>Name</th><th>N</th></tr><tr><td>A &lt;b&gt;<br>c</td><td>1,234</td></tr>"
        "<tr><td>B</td><td>n/a</td></tr></table>"
        "<p>See <a href='https://example.com/x'>here</a><br>now</p><ul><li>one</li></ul>"
        "<img alt='A chart' src='x'></body>"
    )
    assert text.splitlines() == [
        "Title",
        "Beside",
        "",
        "Name         N",
        "A <b> c  1,234",
        "B          n/a",
        "",
        "See here (https://example.com/x)",
        "now",
        "* one",
        "[A chart]",
    ]
