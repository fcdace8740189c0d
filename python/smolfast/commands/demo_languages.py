"""What `smolfast demo` tells languages apart by, written for it: six sentences each, and one more to be told."""

SPOKEN = {
    "English": [
        "I came too late because I was waiting for you",
        "nothing is new, and all will be as it was before",
        "the river was high and the mill stood still",
        "we went home with the children when the rain began",
        "this is what they would have said",
        "there were three of them and nobody knew which",
    ],
    "German": [
        "ich kam zu spät, weil ich auf dich gewartet habe",
        "es gibt nichts Neues, und alles wird sein wie zuvor",
        "der Fluss war hoch und die Mühle stand still",
        "wir gingen mit den Kindern nach Hause, als es regnete",
        "das ist es, was sie gesagt hätten",
        "es waren drei, und niemand wusste welche",
    ],
    "French": [
        "je suis arrivé trop tard parce que je t'attendais",
        "rien de nouveau, et tout sera comme avant",
        "la rivière était haute et le moulin ne tournait pas",
        "nous sommes rentrés avec les enfants quand il a plu",
        "c'est ce qu'ils auraient dit",
        "ils étaient trois et personne ne savait lesquels",
    ],
    "Spanish": [
        "llegué demasiado tarde porque te estaba esperando",
        "nada nuevo, y todo será como antes",
        "el río estaba alto y el molino no se movía",
        "volvimos a casa con los niños cuando empezó la lluvia",
        "esto es lo que habrían dicho",
        "eran tres y nadie sabía cuáles",
    ],
    "Czech": [
        "přišel jsem příliš pozdě, protože jsem na tebe čekal",
        "nic nového, a všechno bude jako předtím",
        "řeka byla vysoká a mlýn stál",
        "šli jsme s dětmi domů, když začalo pršet",
        "to je to, co by řekli",
        "byli tři a nikdo nevěděl kteří",
    ],
}
FIVE = [
    "Next week it will be warmer.",
    "Nächste Woche wird es wärmer.",
    "La semaine prochaine, il fera plus chaud.",
    "La semana que viene hará más calor.",
    "Příští týden bude tepleji.",
]
