"""Make the picture of the page for the docs, `app.jpg`: ``python -m src.assets.screenshot FOLDER``.

It needs Chromium and the extras app and dev. The newest run of FOLDER is shown.
"""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1360, 1000  # px, of the window


def photograph(folder: Path) -> Image.Image:
    """Return the page of a folder of runs, its newest run in front."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "src.app", "--no-open", "--port", "0", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        try:
            assert server.stdout
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found, "the server did not start"
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(found[0])
            page.locator(".card").first.click()
            page.locator("#command-box").wait_for()
            page.locator("#compare.split").wait_for()
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(2000)  # pictures of the gallery
            return Image.open(io.BytesIO(page.screenshot(full_page=True)))
        finally:
            server.terminate()


if __name__ == "__main__":
    photograph(Path(sys.argv[1])).convert("RGB").save(Path(__file__).with_name("app.jpg"), quality=75, optimize=True)
