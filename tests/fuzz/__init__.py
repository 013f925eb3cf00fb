"""Parsers of foreign input on arbitrary bytes: by hypothesis in every test run, by atheris for as long as one likes."""
