"""python -m securetenant"""

from securetenant.cli.main import main

main()
